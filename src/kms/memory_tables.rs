//! Tables in memory, for the tests of answers computed from them. The store tests
//! its own tables.

#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    rows::{KmcKeyRow, ModuleRow, VendingKeyRow},
    tables::{Asker, Issuable, KmsTables, Revision, TablesError, UpdateBasis},
};
use crate::{
    secrets::Sealed,
    sts::{PointText, SmId, StsTime},
};

#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) revision: i64,
    pub(crate) kmc_keys: Vec<KmcKeyRow>,
    pub(crate) modules: Vec<ModuleRow>,
    pub(crate) vending_keys: Vec<VendingKeyRow>,
    pub(crate) storage_key: Option<Sealed>,
    /// Makes the next read of the storage key find none.
    pub(crate) misses_storage_key: bool,
    /// The reads for a request, in order.
    pub(crate) reads: Vec<&'static str>,
    /// Changes the tables before the next `issuable`, as another writer would.
    pub(crate) changes_between_reads: bool,
    pub(crate) replay_keys: HashSet<[u8; 32]>,
    pub(crate) issued: Vec<Timestamp>,
    pub(crate) watermarks: HashMap<SmId, StsTime>,
    pub(crate) updates: HashMap<PointText, (u32, [u8; 48])>,
}

#[derive(Debug, Default)]
pub(crate) struct MemoryTables(Mutex<Content>);

impl MemoryTables {
    /// The content, for a test to read or to tamper with.
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    fn write(
        &self,
        write: impl FnOnce(&mut Content) -> Result<(), TablesError>,
    ) -> Result<(), TablesError> {
        let mut content = self.content();
        write(&mut content)?;
        content.revision += 1;
        Ok(())
    }
}

#[async_trait]
impl KmsTables for MemoryTables {
    async fn asker(&self, smid: &SmId, replay_key: &[u8; 32]) -> Result<Asker, TablesError> {
        let mut content = self.content();
        content.reads.push("asker");
        Ok(Asker {
            revision: Revision(content.revision),
            kmc_keys: content.kmc_keys.clone(),
            module: content
                .modules
                .iter()
                .find(|row| row.smid == *smid)
                .cloned(),
            replayed: content.replay_keys.contains(replay_key),
            watermark: content.watermarks.get(smid).copied(),
        })
    }

    async fn issuable(
        &self,
        _smid: &SmId,
        issued_since: Option<Timestamp>,
    ) -> Result<Issuable, TablesError> {
        let mut content = self.content();
        content.reads.push("issuable");
        if std::mem::take(&mut content.changes_between_reads) {
            content.revision += 1;
        }
        Ok(Issuable {
            revision: Revision(content.revision),
            // Returns more than the caller may issue: the caller has to filter.
            vending_keys: content.vending_keys.clone(),
            issued: content
                .issued
                .iter()
                .copied()
                .filter(|at| issued_since.is_some_and(|since| *at > since))
                .collect(),
        })
    }

    async fn update_basis(&self, stsa_key: &PointText) -> Result<UpdateBasis, TablesError> {
        let content = self.content();
        Ok(UpdateBasis {
            revision: Revision(content.revision),
            kmc_keys: content.kmc_keys.clone(),
            modules: content.modules.clone(),
            last: content.updates.get(stsa_key).copied(),
        })
    }

    async fn kmc_keys(&self) -> Result<Vec<KmcKeyRow>, TablesError> {
        Ok(self.content().kmc_keys.clone())
    }

    async fn add_kmc_key(&self, row: KmcKeyRow, _now: Timestamp) -> Result<(), TablesError> {
        self.write(|content| {
            if content
                .kmc_keys
                .iter()
                .any(|other| other.kmcid == row.kmcid)
            {
                return Err(TablesError::Exists(row.kmcid.to_string()));
            }
            content.kmc_keys.push(row);
            Ok(())
        })
    }

    async fn modules(&self) -> Result<Vec<ModuleRow>, TablesError> {
        Ok(self.content().modules.clone())
    }

    async fn add_module(&self, row: ModuleRow, _now: Timestamp) -> Result<(), TablesError> {
        self.write(|content| {
            if content.modules.iter().any(|other| other.smid == row.smid) {
                return Err(TablesError::Exists(row.smid.to_string()));
            }
            content.modules.push(row);
            Ok(())
        })
    }

    async fn replace_module(
        &self,
        read: &ModuleRow,
        row: ModuleRow,
        _now: Timestamp,
    ) -> Result<(), TablesError> {
        self.write(|content| {
            let smid = row.smid.to_string();
            let place = content
                .modules
                .iter_mut()
                .find(|other| other.smid == row.smid);
            let place = place.ok_or(TablesError::Unknown(smid.clone()))?;
            if place.sealed_dak != read.sealed_dak {
                return Err(TablesError::Changed(smid));
            }
            *place = row;
            Ok(())
        })
    }

    async fn vending_keys(&self) -> Result<Vec<VendingKeyRow>, TablesError> {
        Ok(self.content().vending_keys.clone())
    }

    async fn add_vending_key(
        &self,
        row: VendingKeyRow,
        _now: Timestamp,
    ) -> Result<(), TablesError> {
        self.write(|content| {
            if content
                .vending_keys
                .iter()
                .any(|other| other.name() == row.name())
            {
                return Err(TablesError::Exists(row.name()));
            }
            content.vending_keys.push(row);
            Ok(())
        })
    }

    async fn replace_vending_key(
        &self,
        read: &VendingKeyRow,
        row: VendingKeyRow,
        _now: Timestamp,
    ) -> Result<(), TablesError> {
        self.write(|content| {
            let place = content
                .vending_keys
                .iter_mut()
                .find(|other| other.name() == row.name());
            let place = place.ok_or(TablesError::Unknown(row.name()))?;
            if place.sealed_key != read.sealed_key {
                return Err(TablesError::Changed(row.name()));
            }
            *place = row;
            Ok(())
        })
    }

    async fn wrapped_storage_key(&self) -> Result<Option<Sealed>, TablesError> {
        let mut content = self.content();
        if std::mem::take(&mut content.misses_storage_key) {
            return Ok(None);
        }
        Ok(content.storage_key.clone())
    }

    async fn set_wrapped_storage_key(&self, wrapped: Sealed) -> Result<(), TablesError> {
        self.write(|content| match content.storage_key {
            Some(_) => Err(TablesError::Exists("the storage key".to_owned())),
            None => {
                content.storage_key = Some(wrapped);
                Ok(())
            }
        })
    }
}
