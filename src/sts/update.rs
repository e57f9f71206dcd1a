//! The records of a security-module update file, all of this project's profile.

use std::collections::BTreeSet;
use std::fmt;

use super::error::{FieldError, RecordError};
use super::fields::{Fields, typed_record};
use super::hexadecimal::Hex;
use super::ident::Ident;
use super::identifier::{KmcId, SmId};
use super::number::Decimal;
use super::point::PointText;
use super::record::{Record, TypedRecord};
use super::time::StsTime;
use super::vending_key::Sgc;

/// Supply groups of one module at most.
pub(crate) const MAXIMUM_SUPPLY_GROUPS: usize = 100;

/// `X.SMUPDATE.1`: begins an update file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SmUpdate {
    /// The KMC key that the modules' keys are wrapped for.
    pub(crate) kmcid: KmcId,
    /// Counts the files of one STSA key, from 1.
    pub(crate) serial: u32,
    /// When the file was made.
    pub(crate) time: StsTime,
    /// The STSA's ephemeral public key.
    pub(crate) public_key: PointText,
    /// How many modules follow.
    pub(crate) count: u32,
}

typed_record!(
    SmUpdate,
    "X.SMUPDATE.1",
    kmcid = "KMCID",
    serial: Serial = "serial",
    time = "time",
    public_key = "public key",
    count: Decimal = "count",
);

/// The serial of an update file.
struct Serial(u32);

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::str::FromStr for Serial {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let Decimal(serial) = text.parse::<Decimal<u32>>()?;
        match serial {
            0 => Err(FieldError::format("a number from 1 on", text)),
            _ => Ok(Self(serial)),
        }
    }
}

/// `X.SM.1`: adds or revokes one module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SmEntry {
    /// The module to add or revoke.
    pub(crate) smid: SmId,
    /// The module's hardware id.
    pub(crate) hardware: Ident,
    /// The change to the module's registration.
    pub(crate) change: SmChange,
}

/// A change that an update file makes to a module's registration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SmChange {
    /// The module may make requests with this key and for these supply groups.
    /// They replace any earlier ones.
    Add {
        /// A tag of the SMID and the Device Authentication Key, wrapped together.
        wrapped_dak: [u8; 48],
        /// The module may have the vending keys of these supply groups.
        sgcs: BTreeSet<Sgc>,
    },
    /// The module may make no more requests.
    Revoke,
}

const ADD: &str = "ADD";
const REVOKE: &str = "REVOKE";

impl TypedRecord for SmEntry {
    const TYPE: &'static str = "X.SM.1";

    fn from_record(record: &Record) -> Result<Self, RecordError> {
        let mut fields = Fields::of::<Self>(record, 5)?;
        let smid = fields.take("SMID")?;
        let is_added = fields.take_by("action", is_added)?;
        let hardware = fields.take("hardware id")?;
        let change = if is_added {
            SmChange::Add {
                wrapped_dak: fields.take::<Hex<48>>("wrapped DAK")?.0,
                sgcs: fields.take_by("SGCs", supply_groups)?,
            }
        } else {
            fields.take_by("wrapped DAK", nothing)?;
            fields.take_by("SGCs", nothing)?;
            SmChange::Revoke
        };
        Ok(Self {
            smid,
            hardware,
            change,
        })
    }

    fn to_record(&self) -> Record {
        let (action, wrapped, sgcs) = match &self.change {
            SmChange::Add { wrapped_dak, sgcs } => {
                let sgcs: Vec<&str> = sgcs.iter().map(Sgc::as_str).collect();
                (ADD, Hex(*wrapped_dak).to_string(), sgcs.join(","))
            }
            SmChange::Revoke => (REVOKE, String::new(), String::new()),
        };
        Record::of_checked_fields(
            Self::TYPE,
            &[
                self.smid.to_string(),
                action.to_owned(),
                self.hardware.to_string(),
                wrapped,
                sgcs,
            ],
        )
    }
}

fn is_added(action: &str) -> Result<bool, FieldError> {
    match action {
        ADD => Ok(true),
        REVOKE => Ok(false),
        _ => Err(FieldError::format("ADD or REVOKE", action)),
    }
}

fn nothing(text: &str) -> Result<(), FieldError> {
    match text {
        "" => Ok(()),
        _ => Err(FieldError::format("nothing for REVOKE", text)),
    }
}

/// Reads supply groups in ascending order, joined by commas, so that a set has one text.
fn supply_groups(text: &str) -> Result<BTreeSet<Sgc>, FieldError> {
    if text.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sgcs: Vec<Sgc> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let ascending = sgcs.is_sorted_by(|one, next| one < next);
    if !ascending || sgcs.len() > MAXIMUM_SUPPLY_GROUPS {
        let expected =
            format!("at most {MAXIMUM_SUPPLY_GROUPS} SGCs in ascending order, joined by commas");
        return Err(FieldError::format(expected, text));
    }
    Ok(sgcs.into_iter().collect())
}

/// `X.SMUPDATE.SIG.1`: ends an update file and signs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SmUpdateSignature {
    /// r ‖ s over all records before.
    pub(crate) signature: [u8; 96],
}

typed_record!(
    SmUpdateSignature,
    "X.SMUPDATE.SIG.1",
    signature: Hex = "signature"
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SMID: &str = "SMID.1:Example:90000001:20260102T030405Z:09D598DBA26CF3AC:318F";

    fn entry(fields: [&str; 4]) -> Result<SmEntry, RecordError> {
        let [action, hardware, wrapped, sgcs] = fields;
        let record = Record::build(
            SmEntry::TYPE,
            [SMID, action, hardware, wrapped, sgcs].map(str::to_owned),
        )
        .unwrap();
        let read = SmEntry::from_record(&record)?;
        assert_eq!(read.to_record(), record, "one text");
        Ok(read)
    }

    #[test]
    fn an_entry_adds_or_revokes() {
        let wrapped = "0A".repeat(48);
        let added = entry(["ADD", "SM1", &wrapped, "000439,123456"]).unwrap();
        let sgcs = ["000439", "123456"].map(|sgc| sgc.parse().unwrap());
        assert_eq!(
            added.change,
            SmChange::Add {
                wrapped_dak: [10; 48],
                sgcs: sgcs.into()
            }
        );
        assert!(entry(["ADD", "SM1", &wrapped, ""]).is_ok());
        assert_eq!(
            entry(["REVOKE", "SM1", "", ""]).unwrap().change,
            SmChange::Revoke
        );
    }

    #[test]
    fn every_other_spelling_is_refused_and_named() {
        let wrapped = "0A".repeat(48);
        let many: Vec<String> = (0..=MAXIMUM_SUPPLY_GROUPS)
            .map(|number| format!("{number:06}"))
            .collect();
        let many = many.join(",");
        for (fields, named) in [
            (["add", "SM1", &wrapped, "000439"], "action"),
            (["", "SM1", &wrapped, "000439"], "action"),
            (["ADD", "", &wrapped, "000439"], "hardware id"),
            (["ADD", "SM1", "", "000439"], "wrapped DAK"),
            (["ADD", "SM1", &wrapped[2..], "000439"], "wrapped DAK"),
            (
                ["ADD", "SM1", &wrapped.to_lowercase(), "000439"],
                "wrapped DAK",
            ),
            (["ADD", "SM1", &wrapped, "439"], "SGCs"),
            (["ADD", "SM1", &wrapped, "123456,000439"], "SGCs"),
            (["ADD", "SM1", &wrapped, "000439,000439"], "SGCs"),
            (["ADD", "SM1", &wrapped, "000439,"], "SGCs"),
            (["ADD", "SM1", &wrapped, &many], "SGCs"),
            (["REVOKE", "SM1", &wrapped, ""], "wrapped DAK"),
            (["REVOKE", "SM1", "", "000439"], "SGCs"),
        ] {
            let error = entry(fields).unwrap_err().to_string();
            assert!(error.contains(named), "{fields:?}: {error}");
        }
    }

    #[test]
    fn a_revocation_quotes_what_it_must_not_have() {
        let error = entry(["REVOKE", "SM1", "", "000439"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "X.SM.1: SGCs: expected nothing for REVOKE, found \"000439\""
        );
    }
}
