//! An operator's changes to the tables of the embedded key management system:
//! KMC keys, modules, vending keys. The checks are here, so that a command only
//! reads its arguments and shows the outcome.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use thiserror::Error;

use crate::kms::curve::PrivateKey;
use crate::kms::dak::Dak;
use crate::kms::kmc_keys::KmcKeys;
use crate::kms::rows::{KmcKeyRow, ModuleRow, ModuleState, VendingKeyRow};
use crate::kms::tables::{KmsTables, TablesError};
use crate::kms::vending_key::VendingKey;
use crate::secrets::{DoesNotOpen, RandomError, StorageKey, random_array};
use crate::sts::{
    Ident, KmcId, Krn, MAXIMUM_SUPPLY_GROUPS, Sgc, SmId, StsTime, VendingKeyAttributes,
};

/// Why an operator's order was not carried out.
#[derive(Debug, Error)]
pub enum AdministrationError {
    /// The key would never serve.
    #[error("a KMC key must expire after its activation and after now, not at {expiry}")]
    KmcKeyTimes {
        /// The expiry that was asked for.
        expiry: StsTime,
    },
    /// A key serves already. Another one would take its place at once.
    #[error(
        "{kmcid} serves already; kms-gateway kmc rotate adds the key that follows it, and kmc list \
         shows all"
    )]
    KmcKeyServes {
        /// The key that serves.
        kmcid: KmcId,
    },
    /// A key pair has one KMCID.
    #[error("{kmcid} has this key pair already")]
    KmcKeyInUse {
        /// The KMC key that has it.
        kmcid: KmcId,
    },
    /// The keys of more supply groups may not fit in one key load file.
    #[error("a module has at most {MAXIMUM_SUPPLY_GROUPS} supply groups, not {0}")]
    TooManySupplyGroups(usize),
    /// The module does not have a supply group that should be removed.
    #[error("{smid} does not have supply group {sgc}; module list shows what each has")]
    NoSuchSupplyGroup {
        /// The module.
        smid: SmId,
        /// The supply group.
        sgc: Sgc,
    },
    /// The module exists and was revoked.
    #[error(
        "{smid} is registered, and was revoked; kms-gateway module restore takes it back, with its \
         former DAK, hardware id and supply groups"
    )]
    ModuleRevoked {
        /// The module.
        smid: SmId,
    },
    /// The vending key would never be active.
    #[error("the vending key's IUT, {iut}, is not after its ACT, {act}")]
    Iut {
        /// When the key becomes active.
        act: StsTime,
        /// When the key may no longer be used.
        iut: StsTime,
    },
    /// The vending key would never be issued while active.
    #[error("the vending key's EXP, {expires}, is not after its ACT, {act}")]
    Expires {
        /// When the key becomes active.
        act: StsTime,
        /// Last moment at which the key is issued.
        expires: StsTime,
    },
    /// A key that modules may still get is not replaced.
    #[error("{0} is still issued; retire it before you replace it")]
    StillIssued(String),
    /// Records cannot hold this time.
    #[error("the clock says {0}, which no record can hold: set the clock")]
    Clock(Timestamp),
    /// A row was altered, or sealed under another storage key.
    #[error(transparent)]
    Sealed(#[from] DoesNotOpen),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The tables refused, or are out of reach.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

/// A KMC key pair to add, generated or imported.
#[derive(Debug)]
pub(crate) struct NewKmcKey<'a> {
    /// Identifier of the key; [`new_kmcid`] makes a new one.
    pub(crate) kmcid: KmcId,
    /// The key pair.
    pub(crate) private_key: &'a PrivateKey,
    /// Requests made for the key are answered from this moment on …
    pub(crate) activation: StsTime,
    /// … and no longer from this moment on.
    pub(crate) expiry: StsTime,
}

/// A module to register.
#[derive(Debug)]
pub(crate) struct NewModule<'a> {
    /// Identifier of the module; [`new_smid`] makes a new one.
    pub(crate) smid: SmId,
    /// Hardware id that its requests must state.
    pub(crate) hardware: Ident,
    /// The supply groups whose vending keys it may have.
    pub(crate) sgcs: BTreeSet<Sgc>,
    /// The key that the module shares with the KMC. Hand it to the module now:
    /// nobody gets it out of the tables again.
    pub(crate) dak: &'a Dak,
}

/// The supply groups that a module should have.
#[derive(Clone, Debug)]
pub(crate) enum SupplyGroups {
    /// Only these.
    Exactly(BTreeSet<Sgc>),
    /// Its present supply groups, with changes.
    Changed {
        /// Supply groups to add.
        added: BTreeSet<Sgc>,
        /// Supply groups to remove.
        removed: BTreeSet<Sgc>,
    },
}

impl SupplyGroups {
    fn of(self, module: &ModuleRow) -> Result<BTreeSet<Sgc>, AdministrationError> {
        let (added, removed) = match self {
            Self::Exactly(sgcs) => return Ok(sgcs),
            Self::Changed { added, removed } => (added, removed),
        };
        if let Some(sgc) = removed.difference(&module.sgcs).next() {
            return Err(AdministrationError::NoSuchSupplyGroup {
                smid: module.smid.clone(),
                sgc: *sgc,
            });
        }
        let kept = &module.sgcs - &removed;
        Ok(&kept | &added)
    }
}

/// A module before and after an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModuleReplaced {
    /// The row before the order.
    pub(crate) before: ModuleRow,
    /// The row after the order.
    pub(crate) after: ModuleRow,
}

/// A vending key to add, generated or imported.
#[derive(Debug)]
pub struct NewVendingKey<'a> {
    /// The fields of `X.VK.1` beside the key.
    pub attributes: VendingKeyAttributes,
    /// EXP, the last moment at which the KMC issues the key; none for no end.
    pub expires: Option<StsTime>,
    /// The key itself.
    pub key: &'a VendingKey,
}

/// A new KMCID, created at `now`. A random part makes it unique.
pub(crate) fn new_kmcid(
    issuer: Ident,
    name: Ident,
    now: Timestamp,
) -> Result<KmcId, AdministrationError> {
    Ok(KmcId::new(issuer, name, sts_time(now)?, random_array()?))
}

/// A new SMID, created at `now`. A random part makes it unique.
pub(crate) fn new_smid(
    issuer: Ident,
    name: Ident,
    now: Timestamp,
) -> Result<SmId, AdministrationError> {
    Ok(SmId::new(issuer, name, sts_time(now)?, random_array()?))
}

/// Carries out an operator's orders on the tables.
pub struct Administration<'a> {
    tables: &'a dyn KmsTables,
    storage_key: &'a StorageKey,
}

impl<'a> Administration<'a> {
    /// Takes the tables and the storage key that seals their rows.
    pub fn new(tables: &'a dyn KmsTables, storage_key: &'a StorageKey) -> Self {
        Self {
            tables,
            storage_key,
        }
    }

    /// Adds a first key pair, to a KMC that has no key that serves.
    ///
    /// # Errors
    /// [`AdministrationError::KmcKeyServes`]; otherwise as
    /// [`add_kmc_key`](Self::add_kmc_key).
    pub(crate) async fn add_first_kmc_key(
        &self,
        new: NewKmcKey<'_>,
        now: Timestamp,
    ) -> Result<KmcKeyRow, AdministrationError> {
        let rows = self.tables.kmc_keys().await?;
        match KmcKeys::at(sts_time(now)?, &rows).active() {
            None => self.add_kmc_key(new, now).await,
            Some(active) => Err(AdministrationError::KmcKeyServes {
                kmcid: active.kmcid.clone(),
            }),
        }
    }

    /// Adds a KMC key pair.
    ///
    /// # Errors
    /// [`AdministrationError`]: times at which the key would never serve, a key
    /// pair or KMCID that exists, trouble with tables or random bytes.
    pub(crate) async fn add_kmc_key(
        &self,
        new: NewKmcKey<'_>,
        now: Timestamp,
    ) -> Result<KmcKeyRow, AdministrationError> {
        let NewKmcKey {
            kmcid,
            private_key,
            activation,
            expiry,
        } = new;
        if expiry <= activation || expiry <= sts_time(now)? {
            return Err(AdministrationError::KmcKeyTimes { expiry });
        }
        let row = KmcKeyRow::seal(self.storage_key, private_key, kmcid, activation, expiry)?;
        let rows = self.tables.kmc_keys().await?;
        if let Some(other) = rows
            .into_iter()
            .find(|other| other.public_key == row.public_key)
        {
            return Err(AdministrationError::KmcKeyInUse { kmcid: other.kmcid });
        }
        self.tables.add_kmc_key(row.clone(), now).await?;
        Ok(row)
    }

    /// Registers a module. It may request key load files at once.
    ///
    /// # Errors
    /// [`AdministrationError`]: too many supply groups, an SMID that exists,
    /// trouble with tables or random bytes.
    pub(crate) async fn add_module(
        &self,
        new: NewModule<'_>,
        now: Timestamp,
    ) -> Result<ModuleRow, AdministrationError> {
        check_number(&new.sgcs)?;
        let (key, active) = (self.storage_key, ModuleState::Active);
        let row = ModuleRow::seal(key, new.dak, new.smid, new.hardware, active, new.sgcs)?;
        match self.tables.add_module(row.clone(), now).await {
            Ok(()) => Ok(row),
            Err(TablesError::Exists(_))
                if self.module(&row.smid).await?.state == ModuleState::Revoked =>
            {
                Err(AdministrationError::ModuleRevoked { smid: row.smid })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the supply groups of a module, active or revoked.
    ///
    /// # Errors
    /// [`AdministrationError`]: too many supply groups, a group to remove that the
    /// module does not have, an unknown SMID, a row that doesn't open, trouble with
    /// tables or random bytes.
    pub(crate) async fn authorise(
        &self,
        smid: &SmId,
        groups: SupplyGroups,
        now: Timestamp,
    ) -> Result<ModuleReplaced, AdministrationError> {
        let before = self.module(smid).await?;
        let sgcs = groups.of(&before)?;
        check_number(&sgcs)?;
        let state = before.state;
        let after = self.replace(before.clone(), state, sgcs, now).await?;
        Ok(ModuleReplaced { before, after })
    }

    /// Revokes a module: its requests are refused. A module that is revoked
    /// already stays as it is.
    ///
    /// # Errors
    /// [`AdministrationError`]: an unknown SMID, a row that doesn't open, trouble
    /// with tables or random bytes.
    pub(crate) async fn revoke(
        &self,
        smid: &SmId,
        now: Timestamp,
    ) -> Result<ModuleRow, AdministrationError> {
        self.set_state(smid, ModuleState::Revoked, now).await
    }

    /// Takes back a revocation. The module keeps its DAK, its hardware id and its
    /// supply groups. It also keeps its replay marks, so that no request is
    /// answered twice. An active module stays as it is.
    ///
    /// # Errors
    /// As [`revoke`](Self::revoke).
    pub(crate) async fn restore(
        &self,
        smid: &SmId,
        now: Timestamp,
    ) -> Result<ModuleRow, AdministrationError> {
        self.set_state(smid, ModuleState::Active, now).await
    }

    async fn set_state(
        &self,
        smid: &SmId,
        state: ModuleState,
        now: Timestamp,
    ) -> Result<ModuleRow, AdministrationError> {
        let row = self.module(smid).await?;
        let sgcs = row.sgcs.clone();
        self.replace(row, state, sgcs, now).await
    }

    /// Adds a vending key.
    ///
    /// # Errors
    /// [`AdministrationError`]: times that contradict each other, an SGC that has a
    /// key with this KRN, trouble with tables or random bytes.
    pub async fn add_vending_key(
        &self,
        new: NewVendingKey<'_>,
        now: Timestamp,
    ) -> Result<VendingKeyRow, AdministrationError> {
        let row = self.sealed(new)?;
        self.tables.add_vending_key(row.clone(), now).await?;
        Ok(row)
    }

    /// Replaces the vending key with the same SGC and KRN, which must be retired:
    /// after KRN 9 the revisions begin again at 1. The old key is lost.
    ///
    /// # Errors
    /// [`AdministrationError`]: no such key, a key that is still issued, times that
    /// contradict each other, trouble with tables or random bytes.
    pub(crate) async fn replace_vending_key(
        &self,
        new: NewVendingKey<'_>,
        now: Timestamp,
    ) -> Result<VendingKeyRow, AdministrationError> {
        let row = self.sealed(new)?;
        let (sgc, krn) = (row.attributes.sgc, row.attributes.krn);
        let read = self.vending_key(sgc, krn).await?;
        if read.is_issued_at(sts_time(now)?) {
            return Err(AdministrationError::StillIssued(read.name()));
        }
        self.tables
            .replace_vending_key(&read, row.clone(), now)
            .await?;
        Ok(row)
    }

    /// Ends the issue of a vending key; `expires` is the last moment of issue.
    /// Modules that have the key keep it.
    ///
    /// # Errors
    /// [`AdministrationError`]: an unknown key, a row that doesn't open, trouble
    /// with tables or random bytes.
    pub(crate) async fn retire(
        &self,
        sgc: Sgc,
        krn: Krn,
        expires: StsTime,
        now: Timestamp,
    ) -> Result<VendingKeyRow, AdministrationError> {
        let read = self.vending_key(sgc, krn).await?;
        if read.expires == Some(expires) {
            return Ok(read);
        }
        let key = read.open(self.storage_key)?;
        let attributes = read.attributes.clone();
        let row = VendingKeyRow::seal(self.storage_key, &key, attributes, Some(expires))?;
        self.tables
            .replace_vending_key(&read, row.clone(), now)
            .await?;
        Ok(row)
    }

    fn sealed(&self, new: NewVendingKey<'_>) -> Result<VendingKeyRow, AdministrationError> {
        check_times(&new.attributes, new.expires)?;
        let key = self.storage_key;
        Ok(VendingKeyRow::seal(
            key,
            new.key,
            new.attributes,
            new.expires,
        )?)
    }

    async fn vending_key(&self, sgc: Sgc, krn: Krn) -> Result<VendingKeyRow, AdministrationError> {
        let rows = self.tables.vending_keys().await?;
        let is_meant = |row: &VendingKeyRow| (row.attributes.sgc, row.attributes.krn) == (sgc, krn);
        let unknown = || TablesError::Unknown(format!("vending key {sgc}/{krn}")).into();
        rows.into_iter().find(is_meant).ok_or_else(unknown)
    }

    async fn module(&self, smid: &SmId) -> Result<ModuleRow, AdministrationError> {
        let rows = self.tables.modules().await?;
        let unknown = || TablesError::Unknown(smid.to_string()).into();
        rows.into_iter()
            .find(|row| row.smid == *smid)
            .ok_or_else(unknown)
    }

    /// Seals the row anew with these attributes and replaces `read` by it.
    async fn replace(
        &self,
        read: ModuleRow,
        state: ModuleState,
        sgcs: BTreeSet<Sgc>,
        now: Timestamp,
    ) -> Result<ModuleRow, AdministrationError> {
        if read.state == state && read.sgcs == sgcs {
            return Ok(read);
        }
        let dak = read.open(self.storage_key)?;
        let (smid, hardware) = (read.smid.clone(), read.hardware.clone());
        let row = ModuleRow::seal(self.storage_key, &dak, smid, hardware, state, sgcs)?;
        self.tables.replace_module(&read, row.clone(), now).await?;
        Ok(row)
    }
}

fn check_number(sgcs: &BTreeSet<Sgc>) -> Result<(), AdministrationError> {
    if sgcs.len() > MAXIMUM_SUPPLY_GROUPS {
        return Err(AdministrationError::TooManySupplyGroups(sgcs.len()));
    }
    Ok(())
}

fn check_times(
    attributes: &VendingKeyAttributes,
    expires: Option<StsTime>,
) -> Result<(), AdministrationError> {
    let act = attributes.act;
    if let Some(iut) = attributes.iut.filter(|iut| *iut <= act) {
        return Err(AdministrationError::Iut { act, iut });
    }
    if let Some(expires) = expires.filter(|expires| *expires <= act) {
        return Err(AdministrationError::Expires { act, expires });
    }
    Ok(())
}

fn sts_time(at: Timestamp) -> Result<StsTime, AdministrationError> {
    StsTime::from_timestamp(at).ok_or(AdministrationError::Clock(at))
}
