//! The rows of the key management system. Attributes are in clear. Each secret is
//! sealed with all attributes of its row as associated data.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::str::FromStr;

use thiserror::Error;

use crate::as_text::words;
use crate::kms::curve::{Curve, PrivateKey};
use crate::kms::dak::Dak;
use crate::kms::resealing::ResealError;
use crate::kms::vending_key::{Kcv, VendingKey};
use crate::secrets::{AssociatedData, DoesNotOpen, RandomError, Sealed, Secret, StorageKey};
use crate::sts::{Ident, KmcId, PointText, Sgc, SmId, StsTime, VendingKeyAttributes};

/// A key pair of the KMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmcKeyRow {
    /// Identifier by which requests name the key.
    pub kmcid: KmcId,
    /// Curve of the key pair.
    pub(crate) curve: Curve,
    /// Public point, as records write it.
    pub(crate) public_key: PointText,
    /// Requests made for the key are answered from this moment on …
    pub(crate) activation: StsTime,
    /// … and no longer from this moment on.
    pub(crate) expiry: StsTime,
    /// Private scalar, big-endian.
    pub(crate) sealed_private_key: Sealed,
}

impl KmcKeyRow {
    /// The row of this key pair, with its private key sealed to the row.
    pub(crate) fn seal(
        storage_key: &StorageKey,
        private_key: &PrivateKey,
        kmcid: KmcId,
        activation: StsTime,
        expiry: StsTime,
    ) -> Result<Self, RandomError> {
        let mut row = Self {
            kmcid,
            curve: private_key.curve(),
            public_key: private_key.public_point().to_text(),
            activation,
            expiry,
            sealed_private_key: not_sealed_yet(),
        };
        let scalar = private_key.to_scalar();
        row.sealed_private_key = storage_key.seal(&row.data(), scalar.expose())?;
        Ok(row)
    }

    /// Opens the private key.
    pub fn open(&self, storage_key: &StorageKey) -> Result<PrivateKey, DoesNotOpen> {
        let row = self.data();
        let scalar = storage_key.open(&row, &self.sealed_private_key)?;
        PrivateKey::from_scalar(self.curve, scalar.expose()).map_err(|_| row.does_not_open())
    }

    /// The same row, with its secret sealed anew under `to`.
    pub(crate) fn reseal(&self, from: &StorageKey, to: &StorageKey) -> Result<Self, ResealError> {
        Ok(Self {
            sealed_private_key: from.reseal(&self.data(), &self.sealed_private_key, to)?,
            ..self.clone()
        })
    }

    fn data(&self) -> AssociatedData {
        let Self {
            kmcid,
            curve,
            public_key,
            activation,
            expiry,
            sealed_private_key: _,
        } = self;
        AssociatedData::new("kmc_key", kmcid.as_str())
            .attribute("curve", [curve])
            .attribute("public_key", [public_key])
            .attribute("activation", [activation])
            .attribute("expiry", [expiry])
    }
}

/// The changes of a row, in words for the audit log.
fn in_words(changes: &[String]) -> String {
    match changes {
        [] => "sealed anew".to_owned(),
        changes => changes.join(", "),
    }
}

/// Stands in a new row until its secret is sealed to all its attributes.
fn not_sealed_yet() -> Sealed {
    Sealed::from_bytes(Vec::new())
}

words! {
    /// Whether a module may request key load files.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum ModuleState {
        /// The module may request them.
        Active = "active",
        /// The module may no longer request them.
        Revoked = "revoked",
    }
}

/// A text other than `active` and `revoked`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a module is either active or revoked")]
pub(crate) struct UnknownModuleState;

impl FromStr for ModuleState {
    type Err = UnknownModuleState;

    fn from_str(text: &str) -> Result<Self, UnknownModuleState> {
        Self::named(text).ok_or(UnknownModuleState)
    }
}

/// A registered security module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleRow {
    /// Identifier of the module.
    pub smid: SmId,
    /// Hardware id that the module's requests must state.
    pub(crate) hardware: Ident,
    /// Whether the module may request key load files.
    pub(crate) state: ModuleState,
    /// The supply groups whose vending keys it may have.
    pub(crate) sgcs: BTreeSet<Sgc>,
    /// Device Authentication Key of the module.
    pub(crate) sealed_dak: Sealed,
}

impl ModuleRow {
    /// The row of this module, with its Device Authentication Key sealed to the row.
    pub(crate) fn seal(
        storage_key: &StorageKey,
        dak: &Dak,
        smid: SmId,
        hardware: Ident,
        state: ModuleState,
        sgcs: BTreeSet<Sgc>,
    ) -> Result<Self, RandomError> {
        let mut row = Self {
            smid,
            hardware,
            state,
            sgcs,
            sealed_dak: not_sealed_yet(),
        };
        row.sealed_dak = storage_key.seal(&row.data(), dak.expose())?;
        Ok(row)
    }

    /// Opens the Device Authentication Key.
    pub fn open(&self, storage_key: &StorageKey) -> Result<Dak, DoesNotOpen> {
        let row = self.data();
        let bytes = storage_key.open(&row, &self.sealed_dak)?;
        Secret::copied_from(bytes.expose())
            .map(Dak::new)
            .ok_or_else(|| row.does_not_open())
    }

    /// The same row, with its secret sealed anew under `to`.
    pub(crate) fn reseal(&self, from: &StorageKey, to: &StorageKey) -> Result<Self, ResealError> {
        Ok(Self {
            sealed_dak: from.reseal(&self.data(), &self.sealed_dak, to)?,
            ..self.clone()
        })
    }

    fn data(&self) -> AssociatedData {
        let Self {
            smid,
            hardware,
            state,
            sgcs,
            sealed_dak: _,
        } = self;
        AssociatedData::new("module", smid.as_str())
            .attribute("hardware", [hardware])
            .attribute("state", [state])
            .attribute("sgcs", sgcs)
    }

    /// The differences from `before`, in words for the audit log.
    pub(crate) fn change_from(&self, before: &Self) -> String {
        let mut changes = Vec::new();
        if self.hardware != before.hardware {
            changes.push(format!(
                "hardware id {} -> {}",
                before.hardware, self.hardware
            ));
        }
        if self.state != before.state {
            changes.push(format!("{} -> {}", before.state, self.state));
        }
        let added = self
            .sgcs
            .difference(&before.sgcs)
            .map(|sgc| format!("+{sgc}"));
        let removed = before
            .sgcs
            .difference(&self.sgcs)
            .map(|sgc| format!("-{sgc}"));
        changes.extend(added.chain(removed));
        in_words(&changes)
    }
}

/// A vending key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendingKeyRow {
    /// The fields of `X.VK.1` beside the key.
    pub attributes: VendingKeyAttributes,
    /// EXP, the last moment at which the KMC issues the key; none for no end.
    pub(crate) expires: Option<StsTime>,
    /// Check value of the key.
    pub(crate) kcv: Kcv,
    /// The key itself.
    pub(crate) sealed_key: Sealed,
}

impl VendingKeyRow {
    /// The row of this vending key, with the key sealed to the row.
    pub(crate) fn seal(
        storage_key: &StorageKey,
        key: &VendingKey,
        attributes: VendingKeyAttributes,
        expires: Option<StsTime>,
    ) -> Result<Self, RandomError> {
        let mut row = Self {
            kcv: key.kcv(&attributes),
            attributes,
            expires,
            sealed_key: not_sealed_yet(),
        };
        row.sealed_key = storage_key.seal(&row.data(), key.expose())?;
        Ok(row)
    }

    /// SGC and KRN, which identify the key, in words for people.
    pub(crate) fn name(&self) -> String {
        format!(
            "vending key {}/{}",
            self.attributes.sgc, self.attributes.krn
        )
    }

    /// Whether key load files still contain the key at `now`: neither its IUT nor
    /// its EXP has passed.
    pub(crate) fn is_issued_at(&self, now: StsTime) -> bool {
        let passed = |last: Option<StsTime>| last.is_some_and(|last| last < now);
        !passed(self.attributes.iut) && !passed(self.expires)
    }

    /// The differences from `before`, in words for the audit log.
    pub(crate) fn change_from(&self, before: &Self) -> String {
        let time = |expires: Option<StsTime>| {
            expires.map_or_else(|| "none".to_owned(), |time| time.to_string())
        };
        let mut changes = Vec::new();
        if self.kcv != before.kcv {
            changes.push(format!("check value {} -> {}", before.kcv, self.kcv));
        }
        if self.expires != before.expires {
            let (before, after) = (time(before.expires), time(self.expires));
            changes.push(format!("EXP {before} -> {after}"));
        }
        in_words(&changes)
    }

    /// Opens the vending key.
    pub fn open(&self, storage_key: &StorageKey) -> Result<VendingKey, DoesNotOpen> {
        let row = self.data();
        let bytes = storage_key.open(&row, &self.sealed_key)?;
        VendingKey::new(self.attributes.dkga, bytes).map_err(|_| row.does_not_open())
    }

    /// The same row, with its secret sealed anew under `to`.
    pub(crate) fn reseal(&self, from: &StorageKey, to: &StorageKey) -> Result<Self, ResealError> {
        Ok(Self {
            sealed_key: from.reseal(&self.data(), &self.sealed_key, to)?,
            ..self.clone()
        })
    }

    fn data(&self) -> AssociatedData {
        // Names every field, so that a new attribute can't be forgotten here.
        let Self {
            attributes:
                VendingKeyAttributes {
                    sgc,
                    krn,
                    kt,
                    ken,
                    bdt,
                    dkga,
                    act,
                    iut,
                    ulm,
                    clm,
                },
            expires,
            kcv,
            sealed_key: _,
        } = self;
        AssociatedData::new("vending_key", &format!("{sgc} {krn}"))
            .attribute("kt", [kt])
            .attribute("ken", [ken])
            .attribute("bdt", [bdt])
            .attribute("dkga", [dkga])
            .attribute("act", [act])
            .attribute("iut", *iut)
            .attribute("ulm", [ulm])
            .attribute("clm", [clm])
            .attribute("expires", *expires)
            .attribute("kcv", [kcv])
    }
}
