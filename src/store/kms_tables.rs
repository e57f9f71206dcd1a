//! The tables of the key management system. Secrets come and go sealed; what a
//! row means is `crate::kms`'s.

use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::types::Text;

use super::{
    columns::{Moment, optional_text, text},
    error::StoreError,
    intent::Intent,
    kms_changes::{
        AddKmcKey, AddModule, AddVendingKey, Outcome, ReplaceModule, ReplaceVendingKey,
        SetStorageKey,
    },
    sqlite::SqliteStore,
};
use crate::{
    kms::{
        Asker, Issuable, KmcKeyRow, KmsTables, ModuleRow, Revision, SealedRows, TablesError,
        UpdateBasis, VendingKeyRow,
    },
    secrets::Sealed,
    sts::{Krn, PointText, Sgc, SmId, VendingKeyAttributes},
};

#[async_trait]
impl KmsTables for SqliteStore {
    async fn asker(&self, smid: &SmId, replay_key: &[u8; 32]) -> Result<Asker, TablesError> {
        let mut reading = self.reading().await?;
        let asker = asker(smid, replay_key, &mut reading).await;
        Ok(asker.map_err(|error| self.failed(error))?)
    }

    async fn issuable(
        &self,
        smid: &SmId,
        issued_since: Option<Timestamp>,
    ) -> Result<Issuable, TablesError> {
        let mut reading = self.reading().await?;
        let issuable = issuable(smid, issued_since, &mut reading).await;
        Ok(issuable.map_err(|error| self.failed(error))?)
    }

    async fn update_basis(&self, stsa_key: &PointText) -> Result<UpdateBasis, TablesError> {
        let mut reading = self.reading().await?;
        let basis = update_basis(stsa_key, &mut reading).await;
        Ok(basis.map_err(|error| self.failed(error))?)
    }

    async fn kmc_keys(&self) -> Result<Vec<KmcKeyRow>, TablesError> {
        let mut reading = self.reading().await?;
        Ok(kmc_keys(&mut reading)
            .await
            .map_err(|error| self.failed(error))?)
    }

    async fn add_kmc_key(&self, row: KmcKeyRow, now: Timestamp) -> Result<(), TablesError> {
        self.change_tables(AddKmcKey { row, now }).await
    }

    async fn modules(&self) -> Result<Vec<ModuleRow>, TablesError> {
        let mut reading = self.reading().await?;
        Ok(modules(&mut reading)
            .await
            .map_err(|error| self.failed(error))?)
    }

    async fn add_module(&self, row: ModuleRow, now: Timestamp) -> Result<(), TablesError> {
        self.change_tables(AddModule { row, now }).await
    }

    async fn replace_module(
        &self,
        read: &ModuleRow,
        row: ModuleRow,
        now: Timestamp,
    ) -> Result<(), TablesError> {
        self.change_tables(ReplaceModule {
            read: read.clone(),
            row,
            now,
        })
        .await
    }

    async fn vending_keys(&self) -> Result<Vec<VendingKeyRow>, TablesError> {
        let mut reading = self.reading().await?;
        Ok(vending_keys(&mut reading)
            .await
            .map_err(|error| self.failed(error))?)
    }

    async fn add_vending_key(&self, row: VendingKeyRow, now: Timestamp) -> Result<(), TablesError> {
        self.change_tables(AddVendingKey { row, now }).await
    }

    async fn replace_vending_key(
        &self,
        read: &VendingKeyRow,
        row: VendingKeyRow,
        now: Timestamp,
    ) -> Result<(), TablesError> {
        self.change_tables(ReplaceVendingKey {
            read: read.clone(),
            row,
            now,
        })
        .await
    }

    async fn wrapped_storage_key(&self) -> Result<Option<Sealed>, TablesError> {
        let mut reading = self.reading().await?;
        let wrapped: Option<Vec<u8>> = sqlx::query_scalar("SELECT wrapped FROM storage_key")
            .fetch_optional(&mut *reading)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(wrapped.map(Sealed::from_bytes))
    }

    async fn set_wrapped_storage_key(&self, wrapped: Sealed) -> Result<(), TablesError> {
        self.change_tables(SetStorageKey { wrapped }).await
    }
}

impl SqliteStore {
    async fn change_tables(&self, change: impl Intent<Answer = Outcome>) -> Outcome {
        self.change(change).await?
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

/// How often the tables have changed.
pub(super) async fn revision(connection: &mut SqliteConnection) -> Result<Revision, sqlx::Error> {
    sqlx::query_scalar("SELECT revision FROM kms_revision")
        .fetch_one(connection)
        .await
        .map(Revision)
}

/// Every row that the storage key seals.
pub(super) async fn sealed_rows(
    connection: &mut SqliteConnection,
) -> Result<SealedRows, sqlx::Error> {
    Ok(SealedRows {
        revision: revision(connection).await?,
        kmc_keys: kmc_keys(connection).await?,
        modules: modules(connection).await?,
        vending_keys: vending_keys(connection).await?,
    })
}

async fn update_basis(
    stsa_key: &PointText,
    connection: &mut SqliteConnection,
) -> Result<UpdateBasis, sqlx::Error> {
    let last = sqlx::query("SELECT serial, digest FROM stsa_updates WHERE stsa_key = ?")
        .bind(Text(stsa_key))
        .fetch_optional(&mut *connection)
        .await?;
    let last = match last {
        None => None,
        Some(row) => {
            let digest: Vec<u8> = row.try_get("digest")?;
            let digest = digest.try_into().map_err(|_| {
                sqlx::Error::Decode("stsa_updates.digest is not 48 bytes long".into())
            })?;
            Some((row.try_get("serial")?, digest))
        }
    };
    Ok(UpdateBasis {
        revision: revision(connection).await?,
        kmc_keys: kmc_keys(connection).await?,
        modules: modules(connection).await?,
        last,
    })
}

async fn asker(
    smid: &SmId,
    replay_key: &[u8; 32],
    connection: &mut SqliteConnection,
) -> Result<Asker, sqlx::Error> {
    let replayed = sqlx::query_scalar("SELECT count(*) > 0 FROM replay_marks WHERE replay_key = ?")
        .bind(replay_key.as_slice())
        .fetch_one(&mut *connection)
        .await?;
    let watermark: Option<Option<Text<_>>> =
        sqlx::query_scalar("SELECT replay_watermark FROM modules WHERE smid = ?")
            .bind(Text(smid))
            .fetch_optional(&mut *connection)
            .await?;
    Ok(Asker {
        revision: revision(connection).await?,
        kmc_keys: kmc_keys(connection).await?,
        module: module(smid, connection).await?,
        replayed,
        watermark: watermark.flatten().map(|Text(time)| time),
    })
}

async fn issuable(
    smid: &SmId,
    issued_since: Option<Timestamp>,
    connection: &mut SqliteConnection,
) -> Result<Issuable, sqlx::Error> {
    let issued: Vec<Moment> = sqlx::query_scalar(
        "SELECT issued_at FROM klf_issues WHERE smid = ? AND issued_at > ? ORDER BY issued_at",
    )
    .bind(Text(smid))
    .bind(issued_since.map(Moment))
    .fetch_all(&mut *connection)
    .await?;
    Ok(Issuable {
        revision: revision(connection).await?,
        vending_keys: vending_keys_of(smid, connection).await?,
        issued: issued.into_iter().map(|Moment(at)| at).collect(),
    })
}

async fn kmc_keys(connection: &mut SqliteConnection) -> Result<Vec<KmcKeyRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT kmcid, curve, public_key, activation, expiry, sealed_private_key
         FROM kmc_keys ORDER BY activation, kmcid",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(read_kmc_key).collect()
}

fn read_kmc_key(row: &SqliteRow) -> Result<KmcKeyRow, sqlx::Error> {
    Ok(KmcKeyRow {
        kmcid: text(row, "kmcid")?,
        curve: text(row, "curve")?,
        public_key: text(row, "public_key")?,
        activation: text(row, "activation")?,
        expiry: text(row, "expiry")?,
        sealed_private_key: Sealed::from_bytes(row.try_get("sealed_private_key")?),
    })
}

async fn modules(connection: &mut SqliteConnection) -> Result<Vec<ModuleRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT smid, hardware, state, sealed_dak,
             (SELECT group_concat(sgc) FROM module_sgcs WHERE smid = modules.smid) AS sgcs
         FROM modules ORDER BY smid",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(read_module).collect()
}

/// One module, if it is registered.
pub(super) async fn module(
    smid: &SmId,
    connection: &mut SqliteConnection,
) -> Result<Option<ModuleRow>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT smid, hardware, state, sealed_dak,
             (SELECT group_concat(sgc) FROM module_sgcs WHERE smid = modules.smid) AS sgcs
         FROM modules WHERE smid = ?",
    )
    .bind(Text(smid))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read_module).transpose()
}

fn read_module(row: &SqliteRow) -> Result<ModuleRow, sqlx::Error> {
    let sgcs: Option<String> = row.try_get("sgcs")?;
    let sgcs = sgcs
        .iter()
        .flat_map(|sgcs| sgcs.split(','))
        .map(Sgc::from_str);
    Ok(ModuleRow {
        smid: text(row, "smid")?,
        hardware: text(row, "hardware")?,
        state: text(row, "state")?,
        sgcs: sgcs
            .collect::<Result<_, _>>()
            .map_err(|error| sqlx::Error::Decode(error.into()))?,
        sealed_dak: Sealed::from_bytes(row.try_get("sealed_dak")?),
    })
}

async fn vending_keys(
    connection: &mut SqliteConnection,
) -> Result<Vec<VendingKeyRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT sgc, krn, kt, ken, bdt, dkga, act, iut, ulm, clm, expires, kcv, sealed_key
         FROM vending_keys ORDER BY sgc, krn",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(read_vending_key).collect()
}

/// One vending key, if it is there.
pub(super) async fn vending_key(
    sgc: Sgc,
    krn: Krn,
    connection: &mut SqliteConnection,
) -> Result<Option<VendingKeyRow>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT sgc, krn, kt, ken, bdt, dkga, act, iut, ulm, clm, expires, kcv, sealed_key
         FROM vending_keys WHERE sgc = ? AND krn = ?",
    )
    .bind(Text(sgc))
    .bind(Text(krn))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read_vending_key).transpose()
}

/// The vending keys of a module's supply groups.
async fn vending_keys_of(
    smid: &SmId,
    connection: &mut SqliteConnection,
) -> Result<Vec<VendingKeyRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT sgc, krn, kt, ken, bdt, dkga, act, iut, ulm, clm, expires, kcv, sealed_key
         FROM vending_keys WHERE sgc IN (SELECT sgc FROM module_sgcs WHERE smid = ?)
         ORDER BY sgc, krn",
    )
    .bind(Text(smid))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read_vending_key).collect()
}

fn read_vending_key(row: &SqliteRow) -> Result<VendingKeyRow, sqlx::Error> {
    let attributes = VendingKeyAttributes {
        sgc: text(row, "sgc")?,
        krn: text(row, "krn")?,
        kt: text(row, "kt")?,
        ken: row.try_get("ken")?,
        bdt: text(row, "bdt")?,
        dkga: text(row, "dkga")?,
        act: text(row, "act")?,
        iut: optional_text(row, "iut")?,
        ulm: row.try_get("ulm")?,
        clm: row.try_get("clm")?,
    };
    Ok(VendingKeyRow {
        attributes,
        expires: optional_text(row, "expires")?,
        kcv: text(row, "kcv")?,
        sealed_key: Sealed::from_bytes(row.try_get("sealed_key")?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::slice;

    use super::super::testing::{
        TestStore, at, kmc_key_row, module_row, sgc, smid, vending_key_row,
    };
    use super::super::{SqliteStore, Store};
    use super::*;
    use crate::audit::Event;
    use crate::kms::ModuleState;

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
        assert_eq!(
            test.events().await.len(),
            4,
            "nothing changed, nothing is told"
        );
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
        let told: Vec<_> = entries
            .iter()
            .map(|stored| stored.entry().unwrap())
            .collect();
        assert!(told.iter().all(|entry| entry.event == Event::KmsChanged));
        let details: Vec<_> = told.into_iter().filter_map(|entry| entry.detail).collect();
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
        let store = SqliteStore::open(&test.settings, None).await.unwrap();
        let refused = store
            .add_vending_key(vending_key_row("600727"), at(9))
            .await;
        assert!(matches!(refused, Err(TablesError::Store(_))));
        assert_eq!(store.vending_keys().await.unwrap().len(), 2);
    }
}
