//! The STSA's side: making and signing an update file.

use std::collections::BTreeSet;

use thiserror::Error;

use super::keys::{MAXIMUM_MODULES, UpdateKey};
use super::signature::StsaSigningKey;
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

/// A change of one module.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    /// The module may request keys, with this DAK and for these supply groups.
    Add {
        /// The module.
        smid: SmId,
        /// Hardware id of the module.
        hardware: Ident,
        /// The key that the module shares with the KMC.
        dak: &'a Dak,
        /// The supply groups whose vending keys it may have.
        sgcs: BTreeSet<crate::sts::Sgc>,
    },
    /// The module may no longer request keys.
    Revoke {
        /// The module.
        smid: SmId,
        /// Hardware id of the module.
        hardware: Ident,
    },
}

/// Everything that an update file is made from.
#[derive(Debug)]
pub(crate) struct NewUpdate<'a> {
    /// The KMC key that the modules' keys are wrapped for.
    pub(crate) kmc_key: &'a PkEcdh,
    /// The public point in that record, verified.
    pub(crate) kmc_point: &'a PublicPoint,
    /// One more than the serial of the last file by the same STSA key.
    pub(crate) serial: u32,
    /// When the file is made.
    pub(crate) time: StsTime,
    /// A fresh key on the KMC key's curve, used for this file only.
    pub(crate) ephemeral: &'a PrivateKey,
    /// The changes, at most one for each module.
    pub(crate) changes: Vec<Change<'a>>,
}

/// Why no update file could be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum BuildError {
    /// More modules than one file holds.
    #[error("an update file holds at most {MAXIMUM_MODULES} modules, not {0}")]
    TooManyModules(usize),
    /// More supply groups than one record holds.
    #[error("a module has at most {MAXIMUM_SUPPLY_GROUPS} supply groups, not {0}")]
    TooManySupplyGroups(usize),
    /// The two keys are on different curves.
    #[error(transparent)]
    Point(#[from] PointError),
    /// Wrapping a DAK failed, which never happens.
    #[error(transparent)]
    Wrap(#[from] WrapError),
}

impl NewUpdate<'_> {
    /// Makes the file without its signature.
    ///
    /// # Errors
    /// [`BuildError`]: too many modules or supply groups, or keys on two curves.
    pub(crate) fn build(self) -> Result<Vec<Record>, BuildError> {
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

/// Signs the records that [`NewUpdate::build`] made, and returns the whole file.
#[must_use]
pub(crate) fn sign(mut records: Vec<Record>, key: &StsaSigningKey) -> Vec<Record> {
    let signature = key.sign(&file::covered_text(&records));
    records.push(SmUpdateSignature { signature }.to_record());
    records
}
