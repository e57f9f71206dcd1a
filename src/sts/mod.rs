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
pub use error::{Excerpt, FieldError, RecordError};
pub use hexadecimal::Hex;
pub use ident::Ident;
pub use identifier::{Identifier, IdentifierKind, Kmc, KmcId, Sm, SmId};
pub use in_mail::{Found, find_in_mail, single_in_mail, write_in_mail};
pub use known::check_fields;
pub use number::{Decimal, Digit};
pub use point::PointText;
pub use public_key::{PkEcdh, Reserved};
pub use record::{MAXIMUM_LENGTH, Record, TypedRecord};
pub use request::VkloadReq;
pub use response::{Vk, VkloadMac, VkloadRsp};
pub use time::StsTime;
pub use update::{MAXIMUM_SUPPLY_GROUPS, SmChange, SmEntry, SmUpdate, SmUpdateSignature};
pub use vending_key::{BaseDate, Dkga, KeyType, Krn, Sgc, VendingKeyAttributes};
