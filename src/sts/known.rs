//! The table of known record types.

use super::error::{FieldError, RecordError};
use super::public_key::PkEcdh;
use super::record::{Record, TypedRecord};
use super::request::VkloadReq;
use super::response::{Vk, VkloadMac, VkloadRsp};
use super::update::{SmEntry, SmUpdate, SmUpdateSignature};

type Check = fn(&Record) -> Result<(), RecordError>;

const TYPES: [(&str, Check); 8] = [
    (PkEcdh::TYPE, check::<PkEcdh>),
    (VkloadReq::TYPE, check::<VkloadReq>),
    (VkloadRsp::TYPE, check::<VkloadRsp>),
    (Vk::TYPE, check::<Vk>),
    (VkloadMac::TYPE, check::<VkloadMac>),
    (SmUpdate::TYPE, check::<SmUpdate>),
    (SmEntry::TYPE, check::<SmEntry>),
    (SmUpdateSignature::TYPE, check::<SmUpdateSignature>),
];

/// Checks the fields of a record by its type. Fails if the type is unknown.
pub fn check_fields(record: &Record) -> Result<(), RecordError> {
    let known = TYPES.iter().find(|(kind, _)| *kind == record.kind());
    let unknown = || FieldError::format("a known type", record.kind());
    let (_, check) = known.ok_or_else(|| unknown().in_field(record.kind(), "type"))?;
    check(record)
}

pub(super) fn is_known_type(kind: &str) -> bool {
    TYPES.iter().any(|(known, _)| *known == kind)
}

fn check<T: TypedRecord>(record: &Record) -> Result<(), RecordError> {
    T::from_record(record).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::sts::samples::STANDARD_REQUEST;

    #[test]
    fn checks_by_the_records_type() {
        let request = Record::parse(STANDARD_REQUEST).unwrap();
        assert_eq!(check_fields(&request), Ok(()));
        let empty = Record::build(VkloadReq::TYPE, []).unwrap();
        assert!(check_fields(&empty).is_err());
        let unknown = Record::build("X.OTHER.1", []).unwrap();
        let message = check_fields(&unknown).unwrap_err().to_string();
        assert_eq!(
            message,
            "X.OTHER.1: type: expected a known type, found \"X.OTHER.1\""
        );
    }
}
