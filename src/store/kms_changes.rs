//! Changes of the key management system's tables. Each counts the revision and
//! writes an audit entry.

use jiff::Timestamp;
use sqlx::QueryBuilder;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::types::Text;

use super::{
    error::Failure,
    intent::{Changes, Intent},
    kms_tables::{module, vending_key},
};
use crate::{
    audit::{Entry, Event},
    kms::{KmcKeyRow, ModuleRow, TablesError, VendingKeyRow},
    secrets::Sealed,
};

/// Done, or refused with nothing written.
pub(super) type Outcome = Result<(), TablesError>;

impl Changes<'_> {
    pub(super) async fn count_revision(&mut self) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE kms_revision SET revision = revision + 1")
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    pub(super) async fn kms_changed(
        &mut self,
        now: Timestamp,
        detail: String,
    ) -> Result<(), Failure> {
        self.count_revision().await?;
        let mut entry = Entry::new(now, Event::KmsChanged);
        entry.detail = Some(detail);
        self.audit(entry).await
    }
}

/// Adds a KMC key.
pub(super) struct AddKmcKey {
    pub(super) row: KmcKeyRow,
    pub(super) now: Timestamp,
}

impl Intent for AddKmcKey {
    type Answer = Outcome;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Outcome, Failure> {
        let KmcKeyRow {
            kmcid,
            curve,
            public_key,
            activation,
            expiry,
            sealed_private_key,
        } = self.row;
        let added = sqlx::query(
            "INSERT INTO kmc_keys
                 (kmcid, curve, public_key, activation, expiry, sealed_private_key)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(Text(&kmcid))
        .bind(Text(curve))
        .bind(Text(public_key))
        .bind(Text(activation))
        .bind(Text(expiry))
        .bind(sealed_private_key.as_bytes())
        .execute(&mut *changes.connection)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(Err(TablesError::Exists(kmcid.to_string())));
        }
        let detail = format!("KMC key {kmcid} added: {curve}, from {activation} to {expiry}");
        changes.kms_changed(self.now, detail).await.map(Ok)
    }
}

/// Adds a module.
pub(super) struct AddModule {
    pub(super) row: ModuleRow,
    pub(super) now: Timestamp,
}

impl Intent for AddModule {
    type Answer = Outcome;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Outcome, Failure> {
        let Self { row, now } = self;
        let added = sqlx::query(
            "INSERT INTO modules (smid, hardware, state, sealed_dak) VALUES (?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(Text(&row.smid))
        .bind(Text(&row.hardware))
        .bind(Text(row.state))
        .bind(row.sealed_dak.as_bytes())
        .execute(&mut *changes.connection)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(Err(TablesError::Exists(row.smid.to_string())));
        }
        insert_sgcs(&row, changes.connection).await?;
        let sgcs: Vec<String> = row.sgcs.iter().map(ToString::to_string).collect();
        let detail = format!(
            "module {} added: {}, hardware id {}, supply groups {}",
            row.smid,
            row.state,
            row.hardware,
            sgcs.join(",")
        );
        changes.kms_changed(now, detail).await.map(Ok)
    }
}

/// Puts a module's row in place of the one that was read.
pub(super) struct ReplaceModule {
    pub(super) read: ModuleRow,
    pub(super) row: ModuleRow,
    pub(super) now: Timestamp,
}

impl Intent for ReplaceModule {
    type Answer = Outcome;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Outcome, Failure> {
        let Self { read, row, now } = self;
        match module(&read.smid, changes.connection).await? {
            None => return Ok(Err(TablesError::Unknown(read.smid.to_string()))),
            Some(there) if there != read => {
                return Ok(Err(TablesError::Changed(read.smid.to_string())));
            }
            Some(_) => {}
        }
        // The replay watermark stays: it is no attribute of the module.
        sqlx::query("UPDATE modules SET hardware = ?, state = ?, sealed_dak = ? WHERE smid = ?")
            .bind(Text(&row.hardware))
            .bind(Text(row.state))
            .bind(row.sealed_dak.as_bytes())
            .bind(Text(&read.smid))
            .execute(&mut *changes.connection)
            .await?;
        sqlx::query("DELETE FROM module_sgcs WHERE smid = ?")
            .bind(Text(&read.smid))
            .execute(&mut *changes.connection)
            .await?;
        insert_sgcs(&row, changes.connection).await?;
        let detail = format!("module {} changed: {}", row.smid, row.change_from(&read));
        changes.kms_changed(now, detail).await.map(Ok)
    }
}

async fn insert_sgcs(
    module: &ModuleRow,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    if module.sgcs.is_empty() {
        return Ok(());
    }
    let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO module_sgcs (smid, sgc) ");
    insert.push_values(&module.sgcs, |mut values, sgc| {
        values.push_bind(Text(&module.smid)).push_bind(Text(sgc));
    });
    insert.build().execute(connection).await?;
    Ok(())
}

/// Adds a vending key.
pub(super) struct AddVendingKey {
    pub(super) row: VendingKeyRow,
    pub(super) now: Timestamp,
}

impl Intent for AddVendingKey {
    type Answer = Outcome;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Outcome, Failure> {
        let Self { row, now } = self;
        if !insert_vending_key(&row, changes.connection).await? {
            return Ok(Err(TablesError::Exists(row.name())));
        }
        let detail = format!("{} added: check value {}", row.name(), row.kcv);
        changes.kms_changed(now, detail).await.map(Ok)
    }
}

/// Puts a vending key's row in place of the one that was read.
pub(super) struct ReplaceVendingKey {
    pub(super) read: VendingKeyRow,
    pub(super) row: VendingKeyRow,
    pub(super) now: Timestamp,
}

impl Intent for ReplaceVendingKey {
    type Answer = Outcome;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Outcome, Failure> {
        let Self { read, row, now } = self;
        let (sgc, krn) = (read.attributes.sgc, read.attributes.krn);
        match vending_key(sgc, krn, changes.connection).await? {
            None => return Ok(Err(TablesError::Unknown(read.name()))),
            Some(there) if there != read => return Ok(Err(TablesError::Changed(read.name()))),
            Some(_) => {}
        }
        sqlx::query("DELETE FROM vending_keys WHERE sgc = ? AND krn = ?")
            .bind(Text(sgc))
            .bind(Text(krn))
            .execute(&mut *changes.connection)
            .await?;
        insert_vending_key(&row, changes.connection).await?;
        let detail = format!("{} changed: {}", row.name(), row.change_from(&read));
        changes.kms_changed(now, detail).await.map(Ok)
    }
}

/// False, and nothing written, if its SGC has a key of that KRN.
async fn insert_vending_key(
    row: &VendingKeyRow,
    connection: &mut SqliteConnection,
) -> Result<bool, sqlx::Error> {
    let VendingKeyRow {
        attributes,
        expires,
        kcv,
        sealed_key,
    } = row;
    let added = sqlx::query(
        "INSERT INTO vending_keys
             (sgc, krn, kt, ken, bdt, dkga, act, iut, ulm, clm, expires, kcv, sealed_key)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(Text(attributes.sgc))
    .bind(Text(attributes.krn))
    .bind(Text(attributes.kt))
    .bind(attributes.ken)
    .bind(Text(attributes.bdt))
    .bind(Text(attributes.dkga))
    .bind(Text(attributes.act))
    .bind(attributes.iut.map(Text))
    .bind(attributes.ulm)
    .bind(attributes.clm)
    .bind(expires.map(Text))
    .bind(Text(kcv))
    .bind(sealed_key.as_bytes())
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// Keeps the storage key, once and for all.
pub(super) struct SetStorageKey {
    pub(super) wrapped: Sealed,
}

impl Intent for SetStorageKey {
    type Answer = Outcome;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Outcome, Failure> {
        let added = sqlx::query(
            "INSERT INTO storage_key (id, wrapped) VALUES (1, ?) ON CONFLICT DO NOTHING",
        )
        .bind(self.wrapped.as_bytes())
        .execute(&mut *changes.connection)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(Err(TablesError::Exists("the storage key".to_owned())));
        }
        changes.count_revision().await?;
        Ok(Ok(()))
    }
}
