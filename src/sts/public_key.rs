//! `PK.ECDH.1`: the public key of a KMC. A module needs it to make a request.

use std::fmt;
use std::str::FromStr;

use super::error::{FieldError, RecordError};
use super::fields::Fields;
use super::identifier::KmcId;
use super::point::PointText;
use super::record::{Record, TypedRecord};
use super::time::StsTime;

/// A KMC's public key (STS600-9-2, 5.1.3.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PkEcdh {
    /// The KMC key's identifier.
    pub kmcid: KmcId,
    /// The key, SEC1 uncompressed.
    pub public_key: PointText,
    /// When the key expires.
    pub expiry: StsTime,
    /// Two fields without a public meaning.
    pub reserved: [Reserved; 2],
}

impl TypedRecord for PkEcdh {
    const TYPE: &'static str = "PK.ECDH.1";

    fn from_record(record: &Record) -> Result<Self, RecordError> {
        let mut fields = Fields::of::<Self>(record, 5)?;
        Ok(Self {
            kmcid: fields.take("KMCID")?,
            public_key: fields.take("public key")?,
            expiry: fields.take("expiry")?,
            reserved: [
                fields.take("first reserved field")?,
                fields.take("second reserved field")?,
            ],
        })
    }

    fn to_record(&self) -> Record {
        let [first, second] = &self.reserved;
        let fields = [
            self.kmcid.to_string(),
            self.public_key.to_string(),
            self.expiry.to_string(),
            first.to_string(),
            second.to_string(),
        ];
        Record::of_checked_fields(Self::TYPE, &fields)
    }
}

/// A field without a known meaning. The gateway writes it empty and keeps what
/// it reads.
///
/// Any printable ASCII without blanks and `|`, at most 200 characters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reserved(String);

impl Reserved {
    const MAXIMUM_LENGTH: usize = 200;
}

impl fmt::Display for Reserved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Reserved {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let alphabet = |byte: u8| byte.is_ascii_graphic() && byte != b'|';
        if text.len() <= Self::MAXIMUM_LENGTH && text.bytes().all(alphabet) {
            return Ok(Self(text.to_owned()));
        }
        Err(FieldError::format(
            "at most 200 characters without blanks",
            text,
        ))
    }
}
