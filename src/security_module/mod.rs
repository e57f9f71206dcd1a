//! A software security module, for integrators and tests: makes requests and
//! opens the key load files that answer them.
//!
//! The module is the gateway's counterpart and knows nothing of the gateway,
//! only records and the cryptography of a key load file. Its secrets are in a
//! file in clear, which only its owner may read. A module with real vending
//! keys keeps its secrets in hardware.

mod error;
mod identity;
mod pending;
mod state;
mod state_file;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::kms::klf::OpenedKeys;
use crate::kms::{Dak, Kcv};
use crate::sts::{PkEcdh, StsTime, VendingKeyAttributes, VkloadReq, file};

pub(crate) use error::ModuleError;
pub(crate) use identity::Identity;

use pending::Pending;
use state::State;
use state_file::StateFile;

/// A security module with its state in a file. No other process can use the
/// file while this value exists.
#[derive(Debug)]
pub struct SecurityModule {
    file: StateFile,
    state: State,
}

/// A vending key that a key load file brought.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoadedKey {
    /// The attributes of the key.
    pub(crate) attributes: VendingKeyAttributes,
    /// The check value of the key, to compare with the KMC's.
    pub(crate) kcv: Kcv,
}

impl SecurityModule {
    /// Makes a module with a fresh DAK and the state file `path`. Fails if the
    /// file exists. The KMC must register the identity and the DAK.
    pub(crate) fn create(path: &Path, identity: Identity) -> Result<Self, ModuleError> {
        let state = State {
            identity,
            dak: Dak::random()?,
            pending: Vec::new(),
        };
        let file = StateFile::create(path, &state.to_json()?)?;
        Ok(Self { file, state })
    }

    /// Loads the module from the state file `path`.
    pub fn load(path: &Path) -> Result<Self, ModuleError> {
        let (file, content) = StateFile::open(path)?;
        let state = State::from_json(&content).map_err(|source| ModuleError::State {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { file, state })
    }

    /// The module's identifier, hardware id and firmware id.
    pub(crate) fn identity(&self) -> &Identity {
        &self.state.identity
    }

    /// The key by which the KMC authenticates the module.
    pub(crate) fn dak(&self) -> &Dak {
        &self.state.dak
    }

    /// The requests for which no key load file has been opened.
    pub fn pending_requests(&self) -> impl Iterator<Item = &VkloadReq> {
        self.state.pending.iter().map(Pending::request)
    }

    /// Makes a request for the KMC's key. Keeps its ephemeral key pair until
    /// the answer has been opened.
    pub fn request(&mut self, kmc_key: PkEcdh, now: StsTime) -> Result<VkloadReq, ModuleError> {
        let pending = Pending::new(&self.state.identity, &self.state.dak, kmc_key, now)?;
        let request = pending.request().clone();
        self.state.pending.push(pending);
        // Writes the state before anybody can send the request.
        self.file.replace(&self.state.to_json()?)?;
        Ok(request)
    }

    /// Opens a key load file, given as the bytes of an attachment, and deletes
    /// the ephemeral key of its request. An error changes nothing.
    pub fn open(&mut self, key_load_file: &[u8]) -> Result<Vec<LoadedKey>, ModuleError> {
        let records = file::parse(key_load_file)?;
        let (answered, opened) = self.state.open(&records)?;
        self.state.pending.remove(answered);
        self.file.replace(&self.state.to_json()?)?;
        Ok(loaded_keys(opened))
    }
}

fn loaded_keys(opened: OpenedKeys) -> Vec<LoadedKey> {
    opened
        .into_iter()
        .map(|(attributes, key)| LoadedKey {
            kcv: key.kcv(&attributes),
            attributes,
        })
        .collect()
}
