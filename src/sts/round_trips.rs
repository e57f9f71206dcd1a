//! Writing and reading undo each other: for arbitrary values, for the
//! standard's records and for this project's vectors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Debug;

use proptest::prelude::*;
use serde_json::Value;

use super::samples::{self, STANDARD_PUBLIC_KEY, STANDARD_REQUEST};
use super::*;

/// Reads `text` as a `T` and writes it again.
fn rewritten<T: TypedRecord>(text: &str) -> String {
    let value = T::from_record(&Record::parse(text).unwrap()).unwrap();
    value.to_record().text().to_owned()
}

fn survives<T: TypedRecord + Debug + PartialEq>(value: &T) -> Result<(), TestCaseError> {
    let record = value.to_record();
    let read = Record::parse(record.text());
    prop_assert_eq!(read.as_ref(), Ok(&record));
    prop_assert_eq!(&T::from_record(&record).unwrap(), value);
    let built = Record::build(T::TYPE, record.fields().into_iter().map(str::to_owned));
    prop_assert_eq!(built, read);
    Ok(())
}

proptest! {
    #[test]
    fn public_keys_survive(value in samples::public_key()) {
        survives(&value)?;
    }

    #[test]
    fn requests_survive(value in samples::request()) {
        survives(&value)?;
        prop_assert!(value.text().starts_with(&value.authenticated_text()));
    }

    #[test]
    fn responses_survive(value in samples::response()) {
        survives(&value)?;
        prop_assert!(value.to_record().text().starts_with(&value.text_before_nonce()));
    }

    #[test]
    fn vending_keys_survive(value in samples::vending_key()) {
        survives(&value)?;
    }

    #[test]
    fn response_macs_survive(mac in any::<[u8; 24]>()) {
        survives(&VkloadMac { mac })?;
    }

    /// Changes one character of a request. A text that can still be read is the
    /// only one of its value.
    #[test]
    fn what_is_read_is_written_the_same(
        request in samples::request(),
        place in any::<prop::sample::Index>(),
        other in any::<char>(),
    ) {
        let mut characters: Vec<char> = request.authenticated_text().chars().collect();
        *place.get_mut(&mut characters) = other;
        let changed: String = characters.into_iter().collect();
        let fields = changed.split('|').skip(1).map(str::to_owned).chain([Hex(request.mac).to_string()]);
        let fields: Vec<String> = fields.filter(|field| !field.is_empty()).collect();
        if let Ok(record) = Record::build(VkloadReq::TYPE, fields)
            && let Ok(read) = VkloadReq::from_record(&record)
        {
            prop_assert_eq!(read.text(), record.text());
        }
    }
}

#[test]
fn the_records_of_the_standard() {
    assert_eq!(
        rewritten::<PkEcdh>(STANDARD_PUBLIC_KEY),
        STANDARD_PUBLIC_KEY
    );
    assert_eq!(rewritten::<VkloadReq>(STANDARD_REQUEST), STANDARD_REQUEST);
}

#[test]
fn the_fields_of_the_standards_request() {
    let request = VkloadReq::from_record(&Record::parse(STANDARD_REQUEST).unwrap()).unwrap();
    assert_eq!(request.smid.name().to_string(), "94000304");
    assert_eq!(request.kmcid.name().to_string(), "K0001");
    assert_eq!(request.time.to_string(), "20200622T144047Z");
    assert_eq!(request.hardware.to_string(), "Prism-TSM250-1");
    assert_eq!(request.firmware.to_string(), "STS65V10");
    assert_eq!(request.public_key.as_str().len(), 2 * 97);
    assert_eq!(
        Hex(request.mac).to_string(),
        "38D1405FE3AB906524921F159B7FCC4B7104906B824DA80E"
    );
    let authenticated = request.authenticated_text();
    assert!(authenticated.ends_with("CC40500|"), "{authenticated}");
}

#[test]
fn the_fields_of_the_standards_public_key() {
    let key = PkEcdh::from_record(&Record::parse(STANDARD_PUBLIC_KEY).unwrap()).unwrap();
    assert_eq!(
        key.kmcid.as_str(),
        "KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:6850"
    );
    assert_eq!(key.expiry.to_string(), "20230601T000000Z");
    assert_eq!(key.reserved, [Reserved::default(), Reserved::default()]);
}

#[test]
fn the_records_of_the_vectors() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../integration/vectors/vectors.json")).unwrap();
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        assert_eq!(rewritten::<PkEcdh>(text("pk_record")), text("pk_record"));
        assert_eq!(rewritten::<VkloadReq>(text("request")), text("request"));
        check_mail(text("request"), text("request_in_mail"));
        check_file(&vector["klf"]);
    }
}

fn check_mail(text: &str, in_mail: &str) {
    let request: VkloadReq = single_in_mail(in_mail).unwrap();
    assert_eq!(request.text(), text);
    assert_eq!(write_in_mail(&request.to_record()), in_mail);
}

fn check_file(lines: &Value) {
    let lines: Vec<&str> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    let file: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let records = file::parse(file.as_bytes()).unwrap();
    assert_eq!(file::write(&records), file);
    let [response, first, second, mac] = lines.as_slice() else {
        unreachable!("four records")
    };
    assert_eq!(rewritten::<VkloadRsp>(response), *response);
    assert_eq!(rewritten::<Vk>(first), *first);
    assert_eq!(rewritten::<Vk>(second), *second);
    assert_eq!(rewritten::<VkloadMac>(mac), *mac);
}
