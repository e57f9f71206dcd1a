//! Reads the tables of keys and modules.

use std::str::FromStr;

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::types::Text;

use crate::store::database::{Moment, optional_text, text};
use crate::sts::{Krn, PointText, Sgc, SmId, VendingKeyAttributes};
use crate::{
    kms::{
        Asker, Issuable, KmcKeyRow, ModuleRow, Revision, SealedRows, UpdateBasis, VendingKeyRow,
    },
    secrets::Sealed,
};

/// The revision of the tables, which each change counts.
pub(super) async fn revision(connection: &mut SqliteConnection) -> sqlx::Result<Revision> {
    sqlx::query_scalar("SELECT revision FROM kms_revision")
        .fetch_one(connection)
        .await
        .map(Revision)
}

pub(super) async fn sealed_rows(connection: &mut SqliteConnection) -> sqlx::Result<SealedRows> {
    Ok(SealedRows {
        revision: revision(connection).await?,
        kmc_keys: kmc_keys(connection).await?,
        modules: modules(connection).await?,
        vending_keys: vending_keys(connection).await?,
    })
}

pub(super) async fn update_basis(
    stsa_key: PointText,
    connection: &mut SqliteConnection,
) -> sqlx::Result<UpdateBasis> {
    let last = sqlx::query("SELECT serial, digest FROM stsa_updates WHERE stsa_key = ?")
        .bind(Text(&stsa_key))
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

pub(super) async fn asker(
    smid: SmId,
    replay_key: [u8; 32],
    connection: &mut SqliteConnection,
) -> sqlx::Result<Asker> {
    let replayed = sqlx::query_scalar("SELECT count(*) > 0 FROM replay_marks WHERE replay_key = ?")
        .bind(replay_key.as_slice())
        .fetch_one(&mut *connection)
        .await?;
    let watermark: Option<Option<Text<_>>> =
        sqlx::query_scalar("SELECT replay_watermark FROM modules WHERE smid = ?")
            .bind(Text(&smid))
            .fetch_optional(&mut *connection)
            .await?;
    Ok(Asker {
        revision: revision(connection).await?,
        kmc_keys: kmc_keys(connection).await?,
        module: module(&smid, connection).await?,
        replayed,
        watermark: watermark.flatten().map(|Text(time)| time),
    })
}

pub(super) async fn issuable(
    smid: SmId,
    issued_since: Option<Timestamp>,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Issuable> {
    let issued: Vec<Moment> = sqlx::query_scalar(
        "SELECT issued_at FROM klf_issues WHERE smid = ? AND issued_at > ? ORDER BY issued_at",
    )
    .bind(Text(&smid))
    .bind(issued_since.map(Moment))
    .fetch_all(&mut *connection)
    .await?;
    Ok(Issuable {
        revision: revision(connection).await?,
        vending_keys: vending_keys_of(&smid, connection).await?,
        issued: issued.into_iter().map(|Moment(at)| at).collect(),
    })
}

pub(super) async fn kmc_keys(connection: &mut SqliteConnection) -> sqlx::Result<Vec<KmcKeyRow>> {
    let rows = sqlx::query(
        "SELECT kmcid, curve, public_key, activation, expiry, sealed_private_key
         FROM kmc_keys ORDER BY activation, kmcid",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(read_kmc_key).collect()
}

fn read_kmc_key(row: &SqliteRow) -> sqlx::Result<KmcKeyRow> {
    Ok(KmcKeyRow {
        kmcid: text(row, "kmcid")?,
        curve: text(row, "curve")?,
        public_key: text(row, "public_key")?,
        activation: text(row, "activation")?,
        expiry: text(row, "expiry")?,
        sealed_private_key: Sealed::from_bytes(row.try_get("sealed_private_key")?),
    })
}

/// The rows of modules, with the end of the statement.
macro_rules! modules_where {
    ($end:literal) => {
        concat!(
            "SELECT smid, hardware, state, sealed_dak,
                 (SELECT group_concat(sgc) FROM module_sgcs WHERE smid = modules.smid) AS sgcs
             FROM modules ",
            $end
        )
    };
}

pub(super) async fn modules(connection: &mut SqliteConnection) -> sqlx::Result<Vec<ModuleRow>> {
    let rows = sqlx::query(modules_where!("ORDER BY smid"));
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(read_module).collect()
}

pub(super) async fn module(
    smid: &SmId,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Option<ModuleRow>> {
    let row = sqlx::query(modules_where!("WHERE smid = ?"))
        .bind(Text(smid))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read_module).transpose()
}

fn read_module(row: &SqliteRow) -> sqlx::Result<ModuleRow> {
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

/// The rows of vending keys, with the end of the statement.
macro_rules! vending_keys_where {
    ($end:literal) => {
        concat!(
            "SELECT sgc, krn, kt, ken, bdt, dkga, act, iut, ulm, clm, expires, kcv, sealed_key
             FROM vending_keys ",
            $end
        )
    };
}

pub(super) async fn vending_keys(
    connection: &mut SqliteConnection,
) -> sqlx::Result<Vec<VendingKeyRow>> {
    let rows = sqlx::query(vending_keys_where!("ORDER BY sgc, krn"));
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(read_vending_key).collect()
}

pub(super) async fn vending_key(
    sgc: Sgc,
    krn: Krn,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Option<VendingKeyRow>> {
    let row = sqlx::query(vending_keys_where!("WHERE sgc = ? AND krn = ?"))
        .bind(Text(sgc))
        .bind(Text(krn))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read_vending_key).transpose()
}

async fn vending_keys_of(
    smid: &SmId,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Vec<VendingKeyRow>> {
    let rows = sqlx::query(vending_keys_where!(
        "WHERE sgc IN (SELECT sgc FROM module_sgcs WHERE smid = ?) ORDER BY sgc, krn"
    ))
    .bind(Text(smid))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read_vending_key).collect()
}

fn read_vending_key(row: &SqliteRow) -> sqlx::Result<VendingKeyRow> {
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

pub(super) async fn wrapped_storage_key(
    connection: &mut SqliteConnection,
) -> sqlx::Result<Option<Sealed>> {
    let wrapped: Option<Vec<u8>> = sqlx::query_scalar("SELECT wrapped FROM storage_key")
        .fetch_optional(connection)
        .await?;
    Ok(wrapped.map(Sealed::from_bytes))
}
