//! Reads the tables of keys and modules.

use std::str::FromStr;

use jiff::Timestamp;

use crate::store::database::{Connection, DatabaseError, Row, Text};
use crate::sts::{Krn, PointText, Sgc, SmId, VendingKeyAttributes};
use crate::{
    kms::{
        Asker, Issuable, KmcKeyRow, ModuleRow, Revision, SealedRows, UpdateBasis, VendingKeyRow,
    },
    secrets::Sealed,
};

/// The revision of the tables, which each change counts.
pub(super) fn revision(connection: &mut Connection) -> Result<Revision, DatabaseError> {
    connection
        .scalar("SELECT revision FROM kms_revision", &[])
        .map(Revision)
}

pub(super) fn sealed_rows(connection: &mut Connection) -> Result<SealedRows, DatabaseError> {
    Ok(SealedRows {
        revision: revision(connection)?,
        kmc_keys: kmc_keys(connection)?,
        modules: modules(connection)?,
        vending_keys: vending_keys(connection)?,
    })
}

pub(super) fn update_basis(
    stsa_key: &PointText,
    connection: &mut Connection,
) -> Result<UpdateBasis, DatabaseError> {
    let last = connection.optional(
        "SELECT serial, digest FROM stsa_updates WHERE stsa_key = $1",
        &[&Text(stsa_key)],
    )?;
    let last = match last {
        None => None,
        Some(row) => Some((row.get("serial")?, row.get("digest")?)),
    };
    Ok(UpdateBasis {
        revision: revision(connection)?,
        kmc_keys: kmc_keys(connection)?,
        modules: modules(connection)?,
        last,
    })
}

pub(super) fn asker(
    smid: &SmId,
    replay_key: &[u8; 32],
    connection: &mut Connection,
) -> Result<Asker, DatabaseError> {
    let replayed = connection.scalar(
        "SELECT count(*) > 0 FROM replay_marks WHERE replay_key = $1",
        &[replay_key],
    )?;
    let registered = connection.optional(
        "SELECT replay_watermark FROM modules WHERE smid = $1",
        &[&Text(smid)],
    )?;
    let watermark = match registered {
        None => None,
        Some(row) => row.optional_text("replay_watermark")?,
    };
    Ok(Asker {
        revision: revision(connection)?,
        kmc_keys: kmc_keys(connection)?,
        module: module(smid, connection)?,
        replayed,
        watermark,
    })
}

pub(super) fn issuable(
    smid: &SmId,
    issued_since: Option<Timestamp>,
    connection: &mut Connection,
) -> Result<Issuable, DatabaseError> {
    let issued = connection.all(
        "SELECT issued_at FROM klf_issues WHERE smid = $1 AND issued_at > $2 ORDER BY issued_at",
        &[&Text(smid), &issued_since],
    )?;
    Ok(Issuable {
        revision: revision(connection)?,
        vending_keys: vending_keys_of(smid, connection)?,
        issued: issued
            .iter()
            .map(|row| row.get("issued_at"))
            .collect::<Result<_, _>>()?,
    })
}

pub(super) fn kmc_keys(connection: &mut Connection) -> Result<Vec<KmcKeyRow>, DatabaseError> {
    let rows = connection.all(
        "SELECT kmcid, curve, public_key, activation, expiry, sealed_private_key
         FROM kmc_keys ORDER BY activation, kmcid",
        &[],
    )?;
    rows.iter().map(read_kmc_key).collect()
}

fn read_kmc_key(row: &Row) -> Result<KmcKeyRow, DatabaseError> {
    Ok(KmcKeyRow {
        kmcid: row.text("kmcid")?,
        curve: row.text("curve")?,
        public_key: row.text("public_key")?,
        activation: row.text("activation")?,
        expiry: row.text("expiry")?,
        sealed_private_key: Sealed::from_bytes(row.get("sealed_private_key")?),
    })
}

/// The rows of modules, with the end of the statement.
macro_rules! modules_where {
    ($end:literal) => {
        concat!(
            "SELECT smid, hardware, state, sealed_dak,
                 (SELECT string_agg(sgc, ',') FROM module_sgcs WHERE smid = modules.smid) AS sgcs
             FROM modules ",
            $end
        )
    };
}

pub(super) fn modules(connection: &mut Connection) -> Result<Vec<ModuleRow>, DatabaseError> {
    let rows = connection.all(modules_where!("ORDER BY smid"), &[])?;
    rows.iter().map(read_module).collect()
}

pub(super) fn module(
    smid: &SmId,
    connection: &mut Connection,
) -> Result<Option<ModuleRow>, DatabaseError> {
    let row = connection.optional(modules_where!("WHERE smid = $1"), &[&Text(smid)])?;
    row.as_ref().map(read_module).transpose()
}

fn read_module(row: &Row) -> Result<ModuleRow, DatabaseError> {
    let sgcs: Option<String> = row.get("sgcs")?;
    let sgcs = sgcs
        .iter()
        .flat_map(|sgcs| sgcs.split(','))
        .map(Sgc::from_str);
    Ok(ModuleRow {
        smid: row.text("smid")?,
        hardware: row.text("hardware")?,
        state: row.text("state")?,
        sgcs: sgcs
            .collect::<Result<_, _>>()
            .map_err(|error| DatabaseError::content(format!("module_sgcs.sgc: {error}")))?,
        sealed_dak: Sealed::from_bytes(row.get("sealed_dak")?),
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

pub(super) fn vending_keys(
    connection: &mut Connection,
) -> Result<Vec<VendingKeyRow>, DatabaseError> {
    let rows = connection.all(vending_keys_where!("ORDER BY sgc, krn"), &[])?;
    rows.iter().map(read_vending_key).collect()
}

pub(super) fn vending_key(
    sgc: Sgc,
    krn: Krn,
    connection: &mut Connection,
) -> Result<Option<VendingKeyRow>, DatabaseError> {
    let row = connection.optional(
        vending_keys_where!("WHERE sgc = $1 AND krn = $2"),
        &[&Text(sgc), &Text(krn)],
    )?;
    row.as_ref().map(read_vending_key).transpose()
}

fn vending_keys_of(
    smid: &SmId,
    connection: &mut Connection,
) -> Result<Vec<VendingKeyRow>, DatabaseError> {
    let rows = connection.all(
        vending_keys_where!(
            "WHERE sgc IN (SELECT sgc FROM module_sgcs WHERE smid = $1) ORDER BY sgc, krn"
        ),
        &[&Text(smid)],
    )?;
    rows.iter().map(read_vending_key).collect()
}

fn read_vending_key(row: &Row) -> Result<VendingKeyRow, DatabaseError> {
    let attributes = VendingKeyAttributes {
        sgc: row.text("sgc")?,
        krn: row.text("krn")?,
        kt: row.text("kt")?,
        ken: row.get("ken")?,
        bdt: row.text("bdt")?,
        dkga: row.text("dkga")?,
        act: row.text("act")?,
        iut: row.optional_text("iut")?,
        ulm: row.get("ulm")?,
        clm: row.get("clm")?,
    };
    Ok(VendingKeyRow {
        attributes,
        expires: row.optional_text("expires")?,
        kcv: row.text("kcv")?,
        sealed_key: Sealed::from_bytes(row.get("sealed_key")?),
    })
}

pub(super) fn wrapped_storage_key(
    connection: &mut Connection,
) -> Result<Option<Sealed>, DatabaseError> {
    let row = connection.optional("SELECT wrapped FROM storage_key", &[])?;
    let wrapped = row.map(|row| row.get("wrapped")).transpose()?;
    Ok(wrapped.map(Sealed::from_bytes))
}
