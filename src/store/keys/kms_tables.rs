//! The store as the key management system sees it: [`KmsTables`].

use async_trait::async_trait;
use jiff::Timestamp;

use super::changes::{self, Outcome};
use super::tables;
use crate::store::database::{Changes, Failure, Store, StoreError};
use crate::sts::{PointText, SmId};
use crate::{
    kms::{
        Asker, Issuable, KmcKeyRow, KmsTables, ModuleRow, TablesError, UpdateBasis, VendingKeyRow,
    },
    secrets::Sealed,
};

#[async_trait]
impl KmsTables for Store {
    async fn asker(&self, smid: &SmId, replay_key: &[u8; 32]) -> Result<Asker, TablesError> {
        let (smid, replay_key) = (smid.clone(), *replay_key);
        let read = self.read(move |connection| tables::asker(&smid, &replay_key, connection));
        Ok(read.await?)
    }

    async fn issuable(
        &self,
        smid: &SmId,
        issued_since: Option<Timestamp>,
    ) -> Result<Issuable, TablesError> {
        let smid = smid.clone();
        let read = self.read(move |connection| tables::issuable(&smid, issued_since, connection));
        Ok(read.await?)
    }

    async fn update_basis(&self, stsa_key: &PointText) -> Result<UpdateBasis, TablesError> {
        let stsa_key = stsa_key.clone();
        let read = self.read(move |connection| tables::update_basis(&stsa_key, connection));
        Ok(read.await?)
    }

    async fn kmc_keys(&self) -> Result<Vec<KmcKeyRow>, TablesError> {
        Ok(self.read(tables::kmc_keys).await?)
    }

    async fn add_kmc_key(&self, row: KmcKeyRow, now: Timestamp) -> Result<(), TablesError> {
        self.change_tables(move |changes| changes::add_kmc_key(&row, now, changes))
            .await
    }

    async fn modules(&self) -> Result<Vec<ModuleRow>, TablesError> {
        Ok(self.read(tables::modules).await?)
    }

    async fn add_module(&self, row: ModuleRow, now: Timestamp) -> Result<(), TablesError> {
        self.change_tables(move |changes| changes::add_module(&row, now, changes))
            .await
    }

    async fn replace_module(
        &self,
        read: &ModuleRow,
        row: ModuleRow,
        now: Timestamp,
    ) -> Result<(), TablesError> {
        let read = read.clone();
        self.change_tables(move |changes| changes::replace_module(&read, &row, now, changes))
            .await
    }

    async fn vending_keys(&self) -> Result<Vec<VendingKeyRow>, TablesError> {
        Ok(self.read(tables::vending_keys).await?)
    }

    async fn add_vending_key(&self, row: VendingKeyRow, now: Timestamp) -> Result<(), TablesError> {
        self.change_tables(move |changes| changes::add_vending_key(&row, now, changes))
            .await
    }

    async fn replace_vending_key(
        &self,
        read: &VendingKeyRow,
        row: VendingKeyRow,
        now: Timestamp,
    ) -> Result<(), TablesError> {
        let read = read.clone();
        self.change_tables(move |changes| changes::replace_vending_key(&read, &row, now, changes))
            .await
    }

    async fn wrapped_storage_key(&self) -> Result<Option<Sealed>, TablesError> {
        Ok(self.read(tables::wrapped_storage_key).await?)
    }

    async fn set_wrapped_storage_key(&self, wrapped: Sealed) -> Result<(), TablesError> {
        self.change_tables(move |changes| changes::set_storage_key(&wrapped, changes))
            .await
    }
}

impl Store {
    async fn change_tables<F>(&self, apply: F) -> Outcome
    where
        F: FnMut(&mut Changes<'_>) -> Result<Outcome, Failure> + Send + 'static,
    {
        self.change(apply).await?
    }
}

impl From<StoreError> for TablesError {
    fn from(error: StoreError) -> Self {
        match error.is_about_content() {
            true => Self::Unreadable(error.to_string()),
            false => Self::Store(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::slice;

    use super::*;
    use crate::audit::Event;
    use crate::kms::{ModuleState, Revision};
    use crate::store::Store;
    use crate::store::testing::{
        TestStore, at, kmc_key_row, module_row, sgc, smid, vending_key_row,
    };

    async fn filled() -> TestStore {
        let test = TestStore::new().await;
        test.store.add_kmc_key(kmc_key_row(), at(1)).await.unwrap();
        test.store.add_module(module_row(), at(2)).await.unwrap();
        for sgc in ["000439", "123456"] {
            test.store
                .add_vending_key(vending_key_row(sgc), at(3))
                .await
                .unwrap();
        }
        test
    }

    async fn asker(test: &TestStore) -> Asker {
        test.store.asker(&smid(), &[9; 32]).await.unwrap()
    }

    async fn issuable(test: &TestStore) -> Issuable {
        test.store.issuable(&smid(), None).await.unwrap()
    }

    #[tokio::test]
    async fn rows_come_back_as_they_were() {
        let test = filled().await;
        assert_eq!(test.store.kmc_keys().await.unwrap(), [kmc_key_row()]);
        assert_eq!(test.store.modules().await.unwrap(), [module_row()]);
        let keys = [vending_key_row("000439"), vending_key_row("123456")];
        assert_eq!(test.store.vending_keys().await.unwrap(), keys);

        let asker = asker(&test).await;
        assert_eq!(asker.kmc_keys, [kmc_key_row()]);
        assert_eq!(asker.module, Some(module_row()));
        assert_eq!((asker.replayed, asker.watermark), (false, None));
        let issuable = issuable(&test).await;
        assert_eq!(
            issuable.vending_keys,
            [vending_key_row("000439")],
            "of its supply groups alone"
        );
        assert_eq!(
            (asker.revision, issuable.revision),
            (Revision(4), Revision(4))
        );
    }

    #[tokio::test]
    async fn a_module_without_supply_groups_has_none() {
        let test = TestStore::new().await;
        let row = ModuleRow {
            sgcs: [].into(),
            ..module_row()
        };
        test.store.add_module(row.clone(), at(1)).await.unwrap();
        assert_eq!(test.store.modules().await.unwrap(), [row]);
        assert!(issuable(&test).await.vending_keys.is_empty());
    }

    #[tokio::test]
    async fn an_unknown_module_is_asked_for_too() {
        let test = TestStore::new().await;
        let asker = asker(&test).await;
        assert_eq!((asker.module, asker.revision), (None, Revision(0)));
    }

    #[tokio::test]
    async fn what_is_there_is_not_added_again() {
        let test = filled().await;
        let exists = [
            test.store.add_kmc_key(kmc_key_row(), at(9)).await,
            test.store.add_module(module_row(), at(9)).await,
            test.store
                .add_vending_key(vending_key_row("123456"), at(9))
                .await,
        ];
        assert!(
            exists
                .iter()
                .all(|answer| matches!(answer, Err(TablesError::Exists(_))))
        );
        assert_eq!(asker(&test).await.revision, Revision(4));
        assert_eq!(test.events().await.len(), 4, "nothing changed, no entry");
    }

    #[tokio::test]
    async fn a_module_is_replaced_only_as_it_was_read() {
        let test = filled().await;
        let read = module_row();
        let revoked = ModuleRow {
            state: ModuleState::Revoked,
            sgcs: [sgc("123456")].into(),
            sealed_dak: Sealed::from_bytes(vec![42]),
            ..module_row()
        };
        let replace = || test.store.replace_module(&read, revoked.clone(), at(9));
        replace().await.unwrap();
        assert_eq!(
            test.store.modules().await.unwrap(),
            slice::from_ref(&revoked)
        );
        assert_eq!(asker(&test).await.revision, Revision(5));
        assert!(matches!(replace().await, Err(TablesError::Changed(_))));

        let unknown = ModuleRow {
            smid: "SMID.1:Prism:1:20200622T130252Z:0000000000000000:F076"
                .parse()
                .unwrap(),
            ..module_row()
        };
        let unknown = test
            .store
            .replace_module(&unknown, unknown.clone(), at(9))
            .await;
        assert!(matches!(unknown, Err(TablesError::Unknown(_))));
    }

    #[tokio::test]
    async fn a_vending_key_is_replaced_only_as_it_was_read() {
        let test = filled().await;
        let read = vending_key_row("123456");
        let retired = VendingKeyRow {
            expires: Some("20260301T000000Z".parse().unwrap()),
            sealed_key: Sealed::from_bytes(vec![42]),
            ..read.clone()
        };
        let replace = |row: &VendingKeyRow| {
            let row = row.clone();
            async { test.store.replace_vending_key(&read, row, at(9)).await }
        };
        replace(&retired).await.unwrap();
        let keys = [vending_key_row("000439"), retired.clone()];
        assert_eq!(test.store.vending_keys().await.unwrap(), keys);
        assert_eq!(asker(&test).await.revision, Revision(5));
        assert!(matches!(
            replace(&retired).await,
            Err(TablesError::Changed(_))
        ));
        let unknown = vending_key_row("600727");
        let unknown = test
            .store
            .replace_vending_key(&unknown, unknown.clone(), at(9))
            .await;
        assert!(matches!(unknown, Err(TablesError::Unknown(_))));
        let last = test.store.audit_entries(5, 9).await.unwrap();
        assert_eq!(
            last[0].entry().unwrap().detail.as_deref(),
            Some("vending key 123456/1 changed: EXP 99991231T235959Z -> 20260301T000000Z")
        );
    }

    #[tokio::test]
    async fn every_change_is_audited_in_words() {
        let test = filled().await;
        let revoked = ModuleRow {
            state: ModuleState::Revoked,
            ..module_row()
        };
        test.store
            .replace_module(&module_row(), revoked, at(4))
            .await
            .unwrap();
        let entries = test.store.audit_entries(1, 9).await.unwrap();
        let noted: Vec<_> = entries
            .iter()
            .map(|stored| stored.entry().unwrap())
            .collect();
        assert!(noted.iter().all(|entry| entry.event == Event::KmsChanged));
        let details: Vec<_> = noted.into_iter().filter_map(|entry| entry.detail).collect();
        let kmcid = kmc_key_row().kmcid;
        let smid = smid();
        assert_eq!(
            details,
            [
                format!("KMC key {kmcid} added: P-384, from 20200622T140747Z to 20230601T000000Z"),
                format!(
                    "module {smid} added: active, hardware id Prism-TSM250-1, \
                     supply groups 000439,600727"
                ),
                "vending key 000439/1 added: check value 0AB1C2".to_owned(),
                "vending key 123456/1 added: check value 0AB1C2".to_owned(),
                format!("module {smid} changed: active -> revoked"),
            ]
        );
    }

    #[tokio::test]
    async fn the_storage_key_is_kept_once() {
        let test = TestStore::new().await;
        assert_eq!(test.store.wrapped_storage_key().await.unwrap(), None);
        let wrapped = || Sealed::from_bytes(vec![1; 60]);
        test.store.set_wrapped_storage_key(wrapped()).await.unwrap();
        let again = test
            .store
            .set_wrapped_storage_key(Sealed::from_bytes(vec![2]))
            .await;
        assert!(matches!(again, Err(TablesError::Exists(_))));
        assert_eq!(
            test.store.wrapped_storage_key().await.unwrap(),
            Some(wrapped())
        );
    }

    #[tokio::test]
    async fn a_value_of_no_known_form_is_an_error_that_names_it() {
        let test = filled().await;
        test.execute("UPDATE vending_keys SET dkga = '03' WHERE sgc = '000439'")
            .await;
        let error = test.store.vending_keys().await.unwrap_err().to_string();
        assert!(
            error.contains("dkga") && error.contains("restore the backup"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn without_the_audit_log_s_key_nothing_is_changed() {
        let test = filled().await;
        let store = Store::open(&test.settings, None).await.unwrap();
        let refused = store
            .add_vending_key(vending_key_row("600727"), at(9))
            .await;
        assert!(matches!(refused, Err(TablesError::Store(_))));
        assert_eq!(store.vending_keys().await.unwrap().len(), 2);
    }
}
