//! A software security module, for integrators and tests: makes requests and
//! opens the key load files that answer them.
//!
//! It is the other side of the gateway and knows nothing of it: only records
//! and the cryptography of a key load file. Its secrets lie in a file in clear,
//! readable by its owner alone; a module that guards real vending keys keeps
//! them in hardware.

mod error;
mod pending;
mod state;
mod state_file;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::kms::klf::OpenedFile;
use crate::kms::{Dak, Kcv};
use crate::sts::{PkEcdh, StsTime, VendingKeyAttributes, VkloadReq, file};

pub use error::{ModuleError, StateError};
pub use state::Identity;

use pending::Pending;
use state::State;
use state_file::StateFile;

/// A security module whose state lies in a file, which nobody else can use as
/// long as this exists.
#[derive(Debug)]
pub struct SecurityModule {
    file: StateFile,
    state: State,
}

/// A vending key that a key load file brought.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoadedKey {
    /// What is known of the key.
    pub attributes: VendingKeyAttributes,
    /// Its check value, to be compared with the KMC's.
    pub kcv: Kcv,
}

impl SecurityModule {
    /// Makes a module with a fresh DAK and the state file `path`, which must
    /// not be there yet. The KMC registers its identity and its DAK.
    pub fn create(path: &Path, identity: Identity) -> Result<Self, ModuleError> {
        let state = State {
            identity,
            dak: Dak::random()?,
            pending: Vec::new(),
        };
        let file = StateFile::create(path, &state.to_json()?)?;
        Ok(Self { file, state })
    }

    /// The module whose state lies in `path`.
    pub fn load(path: &Path) -> Result<Self, ModuleError> {
        let (file, content) = StateFile::open(path)?;
        let state = State::from_json(&content).map_err(|source| ModuleError::State {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { file, state })
    }

    /// What the module is called.
    pub fn identity(&self) -> &Identity {
        &self.state.identity
    }

    /// The key that the module is authenticated by at the KMC.
    pub fn dak(&self) -> &Dak {
        &self.state.dak
    }

    /// The requests that no key load file has been opened for.
    pub fn pending_requests(&self) -> impl Iterator<Item = &VkloadReq> {
        self.state.pending.iter().map(Pending::request)
    }

    /// Makes a request under the KMC's key, with an ephemeral key pair that is
    /// kept until the answer has been opened.
    pub fn request(&mut self, kmc_key: PkEcdh, now: StsTime) -> Result<VkloadReq, ModuleError> {
        let pending = Pending::new(&self.state.identity, &self.state.dak, kmc_key, now)?;
        let request = pending.request().clone();
        self.state.pending.push(pending);
        // On disk before anybody can send the request.
        self.file.replace(&self.state.to_json()?)?;
        Ok(request)
    }

    /// Opens a key load file, the bytes of an attachment, and forgets the
    /// ephemeral key of the request that it answers. A file that doesn't open
    /// changes nothing.
    pub fn open(&mut self, key_load_file: &[u8]) -> Result<Vec<LoadedKey>, ModuleError> {
        let records = file::parse(key_load_file)?;
        let (answered, opened) = self.state.open(&records)?;
        self.state.pending.remove(answered);
        self.file.replace(&self.state.to_json()?)?;
        Ok(loaded_keys(opened))
    }
}

fn loaded_keys(opened: OpenedFile) -> Vec<LoadedKey> {
    let loaded = opened.vending_keys.into_iter();
    loaded
        .map(|(attributes, key)| LoadedKey {
            kcv: key.kcv(&attributes),
            attributes,
        })
        .collect()
}
