//! Changes of the tables of keys and modules. Each counts the revision, and writes an audit entry.

use jiff::Timestamp;
use sqlx::QueryBuilder;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::types::Text;

use super::tables::{module, vending_key};
use crate::audit::{Entry, Event};
use crate::store::database::{Changes, Failure};
use crate::{
    kms::{KmcKeyRow, ModuleRow, TablesError, VendingKeyRow},
    secrets::Sealed,
};

/// Done, or refused and nothing written.
pub(super) type Outcome = Result<(), TablesError>;

impl Changes<'_> {
    pub(super) async fn count_revision(&mut self) -> sqlx::Result<()> {
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

pub(super) async fn add_kmc_key(
    row: KmcKeyRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    let KmcKeyRow {
        kmcid,
        curve,
        public_key,
        activation,
        expiry,
        sealed_private_key,
    } = row;
    let added = sqlx::query(
        "INSERT INTO kmc_keys (kmcid, curve, public_key, activation, expiry, sealed_private_key)
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
    changes.kms_changed(now, detail).await.map(Ok)
}

pub(super) async fn add_module(
    row: ModuleRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
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

/// Replaces a module's row, if it still is as it was read.
pub(super) async fn replace_module(
    read: ModuleRow,
    row: ModuleRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    let there = module(&read.smid, changes.connection).await?;
    if let Err(refused) = unchanged(there, &read, read.smid.to_string()) {
        return Ok(Err(refused));
    }
    // The replay watermark stays, as it is no attribute of the module.
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

/// Refuses to replace a row that is gone, or is not as it was read.
fn unchanged<T: PartialEq>(there: Option<T>, read: &T, name: String) -> Outcome {
    match there {
        None => Err(TablesError::Unknown(name)),
        Some(there) if there != *read => Err(TablesError::Changed(name)),
        Some(_) => Ok(()),
    }
}

async fn insert_sgcs(module: &ModuleRow, connection: &mut SqliteConnection) -> sqlx::Result<()> {
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

pub(super) async fn add_vending_key(
    row: VendingKeyRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    if !insert_vending_key(&row, changes.connection).await? {
        return Ok(Err(TablesError::Exists(row.name())));
    }
    let detail = format!("{} added: check value {}", row.name(), row.kcv);
    changes.kms_changed(now, detail).await.map(Ok)
}

/// Replaces a vending key's row, if it still is as it was read.
pub(super) async fn replace_vending_key(
    read: VendingKeyRow,
    row: VendingKeyRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    let (sgc, krn) = (read.attributes.sgc, read.attributes.krn);
    let there = vending_key(sgc, krn, changes.connection).await?;
    if let Err(refused) = unchanged(there, &read, read.name()) {
        return Ok(Err(refused));
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

/// False, and nothing written, if its SGC has a key of that KRN.
async fn insert_vending_key(
    row: &VendingKeyRow,
    connection: &mut SqliteConnection,
) -> sqlx::Result<bool> {
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

/// Writes the storage key, once for all.
pub(super) async fn set_storage_key(
    wrapped: Sealed,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    let added =
        sqlx::query("INSERT INTO storage_key (id, wrapped) VALUES (1, ?) ON CONFLICT DO NOTHING")
            .bind(wrapped.as_bytes())
            .execute(&mut *changes.connection)
            .await?;
    if added.rows_affected() == 0 {
        return Ok(Err(TablesError::Exists("the storage key".to_owned())));
    }
    changes.count_revision().await?;
    Ok(Ok(()))
}
