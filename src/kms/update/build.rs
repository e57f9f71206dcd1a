//! The STSA's side: making an update file, and signing it.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{MAXIMUM_MODULES, UpdateKey, signature::StsaSigningKey};
use crate::{
    kms::{
        curve::{PointError, PrivateKey, PublicPoint},
        dak::Dak,
    },
    secrets::primitives::WrapError,
    sts::{
        Ident, MAXIMUM_SUPPLY_GROUPS, PkEcdh, Record, SmChange, SmEntry, SmId, SmUpdate,
        SmUpdateSignature, StsTime, TypedRecord as _, file,
    },
};

/// What shall become of a module.
#[derive(Debug)]
pub enum Change<'a> {
    /// It may ask, with this key and for these supply groups.
    Add {
        /// The module.
        smid: SmId,
        /// Its hardware id.
        hardware: Ident,
        /// The key that it shares with the KMC.
        dak: &'a Dak,
        /// The supply groups whose vending keys it may have.
        sgcs: BTreeSet<crate::sts::Sgc>,
    },
    /// It may ask no more.
    Revoke {
        /// The module.
        smid: SmId,
        /// Its hardware id.
        hardware: Ident,
    },
}

/// An update file to be made.
#[derive(Debug)]
pub struct NewUpdate<'a> {
    /// The KMC key that the modules' keys are wrapped for.
    pub kmc_key: &'a PkEcdh,
    /// The point in it, checked.
    pub kmc_point: &'a PublicPoint,
    /// The last file's serial by the same STSA key, and one.
    pub serial: u32,
    /// Now.
    pub time: StsTime,
    /// A fresh key on the KMC key's curve.
    pub ephemeral: &'a PrivateKey,
    /// What shall become of which module.
    pub changes: Vec<Change<'a>>,
}

/// Why no update file is made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// More than one file holds.
    #[error("an update file holds at most {MAXIMUM_MODULES} modules, not {0}")]
    TooManyModules(usize),
    /// More than one record holds.
    #[error("a module has at most {MAXIMUM_SUPPLY_GROUPS} supply groups, not {0}")]
    TooManySupplyGroups(usize),
    /// The two keys are on different curves.
    #[error(transparent)]
    Point(#[from] PointError),
    /// Never met.
    #[error(transparent)]
    Wrap(#[from] WrapError),
}

impl NewUpdate<'_> {
    /// The file without its signature.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Vec<Record>, BuildError> {
        let too_many = BuildError::TooManyModules(self.changes.len());
        if self.changes.len() > MAXIMUM_MODULES {
            return Err(too_many);
        }
        let first = SmUpdate {
            kmcid: self.kmc_key.kmcid.clone(),
            serial: self.serial,
            time: self.time,
            public_key: self.ephemeral.public_point().to_text(),
            count: u32::try_from(self.changes.len()).map_err(|_| too_many)?,
        }
        .to_record();
        let z = self.ephemeral.agree(self.kmc_point)?;
        let key = UpdateKey::derive(&z, self.kmc_point, &first);
        let mut records = vec![first];
        for change in self.changes {
            records.push(entry(change, &key)?.to_record());
        }
        Ok(records)
    }
}

fn entry(change: Change<'_>, key: &UpdateKey) -> Result<SmEntry, BuildError> {
    Ok(match change {
        Change::Add {
            smid,
            hardware,
            dak,
            sgcs,
        } => {
            if sgcs.len() > MAXIMUM_SUPPLY_GROUPS {
                return Err(BuildError::TooManySupplyGroups(sgcs.len()));
            }
            let wrapped_dak = key.wrap(&smid, dak)?;
            SmEntry {
                smid,
                hardware,
                change: SmChange::Add { wrapped_dak, sgcs },
            }
        }
        Change::Revoke { smid, hardware } => SmEntry {
            smid,
            hardware,
            change: SmChange::Revoke,
        },
    })
}

/// Signs what [`NewUpdate::build`] made: the whole file.
#[must_use]
pub fn sign(mut records: Vec<Record>, key: &StsaSigningKey) -> Vec<Record> {
    let signature = key.sign(&file::covered_text(&records));
    records.push(SmUpdateSignature { signature }.to_record());
    records
}
