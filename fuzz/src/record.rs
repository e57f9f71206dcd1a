//! A record. Reading and writing it gives the same text, and no value has two
//! spellings.

use std::slice;

use kms_gateway::sts::{
    MAXIMUM_LENGTH, PkEcdh, Record, SmEntry, SmUpdate, SmUpdateSignature, TypedRecord, Vk,
    VkloadMac, VkloadReq, VkloadRsp, check_fields,
};

use super::assert_one_line;
use super::checksums::corrected;

/// A reader and writer for each known type.
const REWRITERS: [fn(&Record) -> Option<Record>; 8] = [
    rewritten::<PkEcdh>,
    rewritten::<VkloadReq>,
    rewritten::<VkloadRsp>,
    rewritten::<Vk>,
    rewritten::<VkloadMac>,
    rewritten::<SmUpdate>,
    rewritten::<SmEntry>,
    rewritten::<SmUpdateSignature>,
];

/// Takes the octets as a record, as they are and with right checksums.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    check_text(&text);
    check_text(&corrected(&text));
}

fn check_text(text: &str) {
    match Record::parse(text) {
        Ok(record) => {
            assert_eq!(record.text(), text);
            check_record(&record);
        }
        Err(error) => assert_one_line(&error),
    }
}

/// Checks the promises for every record that was read.
pub fn check_record(record: &Record) {
    let text = record.text();
    assert!(text.len() <= MAXIMUM_LENGTH);
    assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
    assert_eq!(Record::parse(text).as_ref(), Ok(record));
    let fields = record.fields().into_iter().map(str::to_owned);
    assert_eq!(Record::build(record.kind(), fields).as_ref(), Ok(record));
    let rewritten: Vec<Record> = REWRITERS
        .iter()
        .filter_map(|rewritten| rewritten(record))
        .collect();
    match check_fields(record) {
        Ok(()) => assert_eq!(rewritten, slice::from_ref(record)),
        Err(error) => {
            assert_one_line(&error);
            assert_eq!(rewritten, []);
        }
    }
}

fn rewritten<T: TypedRecord>(record: &Record) -> Option<Record> {
    T::from_record(record).ok().map(|value| value.to_record())
}
