//! Changes of the tables of keys and modules. Each counts the revision, and writes an audit entry.

use jiff::Timestamp;

use super::tables::{module, vending_key};
use crate::audit::{Entry, Event};
use crate::store::database::{Changes, Connection, DatabaseError, Failure, Text};
use crate::{
    kms::{KmcKeyRow, ModuleRow, TablesError, VendingKeyRow},
    secrets::Sealed,
};

/// Done, or refused and nothing written.
pub(super) type Outcome = Result<(), TablesError>;

impl Changes<'_> {
    pub(super) fn count_revision(&mut self) -> Result<(), DatabaseError> {
        self.connection
            .execute("UPDATE kms_revision SET revision = revision + 1", &[])?;
        Ok(())
    }

    pub(super) fn kms_changed(&mut self, now: Timestamp, detail: String) -> Result<(), Failure> {
        self.count_revision()?;
        let mut entry = Entry::new(now, Event::KmsChanged);
        entry.detail = Some(detail);
        self.audit(entry)
    }
}

pub(super) fn add_kmc_key(
    row: &KmcKeyRow,
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
    let added = changes.connection.execute(
        "INSERT INTO kmc_keys (kmcid, curve, public_key, activation, expiry, sealed_private_key)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (kmcid) DO NOTHING",
        &[
            &Text(kmcid),
            &Text(curve),
            &Text(public_key),
            &Text(activation),
            &Text(expiry),
            &sealed_private_key.as_bytes(),
        ],
    )?;
    if added == 0 {
        return Ok(Err(TablesError::Exists(kmcid.to_string())));
    }
    let detail = format!("KMC key {kmcid} added: {curve}, from {activation} to {expiry}");
    changes.kms_changed(now, detail).map(Ok)
}

pub(super) fn add_module(
    row: &ModuleRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    let added = changes.connection.execute(
        "INSERT INTO modules (smid, hardware, state, sealed_dak) VALUES ($1, $2, $3, $4)
         ON CONFLICT (smid) DO NOTHING",
        &[
            &Text(&row.smid),
            &Text(&row.hardware),
            &Text(row.state),
            &row.sealed_dak.as_bytes(),
        ],
    )?;
    if added == 0 {
        return Ok(Err(TablesError::Exists(row.smid.to_string())));
    }
    insert_sgcs(row, changes.connection)?;
    let sgcs: Vec<String> = row.sgcs.iter().map(ToString::to_string).collect();
    let detail = format!(
        "module {} added: {}, hardware id {}, supply groups {}",
        row.smid,
        row.state,
        row.hardware,
        sgcs.join(",")
    );
    changes.kms_changed(now, detail).map(Ok)
}

/// Replaces a module's row, if it still is as it was read.
pub(super) fn replace_module(
    read: &ModuleRow,
    row: &ModuleRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    let there = module(&read.smid, changes.connection)?;
    if let Err(refused) = unchanged(there, read, read.smid.to_string()) {
        return Ok(Err(refused));
    }
    // The replay watermark stays, as it is no attribute of the module.
    changes.connection.execute(
        "UPDATE modules SET hardware = $1, state = $2, sealed_dak = $3 WHERE smid = $4",
        &[
            &Text(&row.hardware),
            &Text(row.state),
            &row.sealed_dak.as_bytes(),
            &Text(&read.smid),
        ],
    )?;
    changes.connection.execute(
        "DELETE FROM module_sgcs WHERE smid = $1",
        &[&Text(&read.smid)],
    )?;
    insert_sgcs(row, changes.connection)?;
    let detail = format!("module {} changed: {}", row.smid, row.change_from(read));
    changes.kms_changed(now, detail).map(Ok)
}

/// Refuses to replace a row that is gone, or is not as it was read.
fn unchanged<T: PartialEq>(there: Option<T>, read: &T, name: String) -> Outcome {
    match there {
        None => Err(TablesError::Unknown(name)),
        Some(there) if there != *read => Err(TablesError::Changed(name)),
        Some(_) => Ok(()),
    }
}

fn insert_sgcs(module: &ModuleRow, connection: &mut Connection) -> Result<(), DatabaseError> {
    for sgc in &module.sgcs {
        connection.execute(
            "INSERT INTO module_sgcs (smid, sgc) VALUES ($1, $2)",
            &[&Text(&module.smid), &Text(sgc)],
        )?;
    }
    Ok(())
}

pub(super) fn add_vending_key(
    row: &VendingKeyRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    if !insert_vending_key(row, changes.connection)? {
        return Ok(Err(TablesError::Exists(row.name())));
    }
    let detail = format!("{} added: check value {}", row.name(), row.kcv);
    changes.kms_changed(now, detail).map(Ok)
}

/// Replaces a vending key's row, if it still is as it was read.
pub(super) fn replace_vending_key(
    read: &VendingKeyRow,
    row: &VendingKeyRow,
    now: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    let (sgc, krn) = (read.attributes.sgc, read.attributes.krn);
    let there = vending_key(sgc, krn, changes.connection)?;
    if let Err(refused) = unchanged(there, read, read.name()) {
        return Ok(Err(refused));
    }
    changes.connection.execute(
        "DELETE FROM vending_keys WHERE sgc = $1 AND krn = $2",
        &[&Text(sgc), &Text(krn)],
    )?;
    insert_vending_key(row, changes.connection)?;
    let detail = format!("{} changed: {}", row.name(), row.change_from(read));
    changes.kms_changed(now, detail).map(Ok)
}

/// False, and nothing written, if its SGC has a key of that KRN.
fn insert_vending_key(
    row: &VendingKeyRow,
    connection: &mut Connection,
) -> Result<bool, DatabaseError> {
    let VendingKeyRow {
        attributes,
        expires,
        kcv,
        sealed_key,
    } = row;
    let added = connection.execute(
        "INSERT INTO vending_keys
             (sgc, krn, kt, ken, bdt, dkga, act, iut, ulm, clm, expires, kcv, sealed_key)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (sgc, krn) DO NOTHING",
        &[
            &Text(attributes.sgc),
            &Text(attributes.krn),
            &Text(attributes.kt),
            &attributes.ken,
            &Text(attributes.bdt),
            &Text(attributes.dkga),
            &Text(attributes.act),
            &attributes.iut.map(Text),
            &attributes.ulm,
            &attributes.clm,
            &expires.map(Text),
            &Text(kcv),
            &sealed_key.as_bytes(),
        ],
    )?;
    Ok(added == 1)
}

/// Writes the storage key, once for all.
pub(super) fn set_storage_key(
    wrapped: &Sealed,
    changes: &mut Changes<'_>,
) -> Result<Outcome, Failure> {
    let added = changes.connection.execute(
        "INSERT INTO storage_key (id, wrapped) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
        &[&wrapped.as_bytes()],
    )?;
    if added == 0 {
        return Ok(Err(TablesError::Exists("the storage key".to_owned())));
    }
    changes.count_revision()?;
    Ok(Ok(()))
}
