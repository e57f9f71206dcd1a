//! STS records: text, checksums, identifiers, the record in an e-mail and the
//! file of records.
//!
//! STS600-9-2 shows the record's text, its CRC, the record in an e-mail,
//! `PK.ECDH.1` and `VKLOAD.REQ.1`. This project's profile adds the file of
//! records, every type that begins with `X.`, and the rule that a value has one
//! spelling.
//!
//! Knows nothing of mail (it takes decoded text), storage, keys at rest or the clock.

mod checksum;
mod error;
mod fields;
pub mod file;
mod hexadecimal;
mod ident;
mod identifier;
mod in_mail;
mod known;
mod number;
mod point;
mod public_key;
mod record;
mod request;
mod response;
#[cfg(test)]
mod round_trips;
#[cfg(test)]
mod samples;
mod time;
mod update;
mod vending_key;

pub use checksum::Checksum;
pub(crate) use error::{FieldError, RecordError};
pub(crate) use hexadecimal::Hex;
pub(crate) use ident::Ident;
#[cfg(test)]
pub(crate) use identifier::{Identifier, IdentifierKind, Kmc, Sm};
pub(crate) use identifier::{KmcId, SmId};
pub use in_mail::{Found, find_in_mail, single_in_mail, write_in_mail};
pub use known::check_fields;
pub(crate) use point::PointText;
pub use public_key::PkEcdh;
pub(crate) use public_key::Reserved;
pub use record::{MAXIMUM_LENGTH, Record, TypedRecord};
pub use request::VkloadReq;
pub use response::{Vk, VkloadMac, VkloadRsp};
pub use time::StsTime;
pub(crate) use update::{MAXIMUM_SUPPLY_GROUPS, SmChange};
pub use update::{SmEntry, SmUpdate, SmUpdateSignature};
pub(crate) use vending_key::{BaseDate, KeyType, Krn, Sgc};
pub use vending_key::{Dkga, VendingKeyAttributes};
