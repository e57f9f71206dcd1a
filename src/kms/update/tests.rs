//! Compares these functions with the update files of the project's vectors, which
//! another program made. Every change to a file is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde::Deserialize;

use super::*;
use crate::kms::curve::{Curve, PrivateKey, PublicPoint};
use crate::kms::dak::Dak;
use crate::sts::{PkEcdh, Record, SmChange, SmUpdate, StsTime, TypedRecord as _, file};

#[derive(Deserialize)]
struct Vector {
    curve: String,
    kmc_private: String,
    pk_record: String,
    dak: String,
    stsa_sign_private: String,
    stsa_sign_public: String,
    stsa_ephemeral_private: String,
    update_kek: String,
    update: Vec<String>,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../../integration/vectors/vectors.json")).unwrap()
}

fn private_key(curve: Curve, text: &str) -> PrivateKey {
    PrivateKey::from_scalar(curve, &hex::decode(text).unwrap()).unwrap()
}

fn time(text: &str) -> StsTime {
    text.parse().unwrap()
}

impl Vector {
    fn kmc_key(&self) -> PrivateKey {
        private_key(self.curve.parse().unwrap(), &self.kmc_private)
    }

    fn records(&self) -> Vec<Record> {
        let texts = self.update.iter();
        texts.map(|text| Record::parse(text).unwrap()).collect()
    }

    fn file(&self) -> Vec<u8> {
        file::write(&self.records()).into_bytes()
    }

    fn stsa_key(&self) -> StsaKey {
        StsaKey {
            key: StsaPublicKey::read(&self.stsa_sign_public).unwrap(),
            valid_from: time("20260101T000000Z"),
            valid_until: time("20270101T000000Z"),
        }
    }

    fn open(&self, file: &[u8]) -> Result<SignedUpdate, UpdateError> {
        open(file, &[self.stsa_key()], time("20260601T000000Z"))
    }
}

#[test]
fn the_files_of_another_program_are_read() {
    for vector in vectors() {
        let update = vector.open(&vector.file()).unwrap();
        assert_eq!(update.signer, vector.stsa_key().key);
        assert_eq!(update.entries.len(), 2);
        assert_eq!(update.entries[1].change, SmChange::Revoke);

        let kmc_key = vector.kmc_key();
        let kmc_point = kmc_key.public_point();
        let ephemeral = PublicPoint::read(kmc_key.curve(), update.first.public_key.as_str());
        let z = kmc_key.agree(&ephemeral.unwrap()).unwrap();
        let key = UpdateKey::derive(&z, &kmc_point, &update.first_record);
        assert_eq!(hex::encode_upper(key.0.expose()), vector.update_kek);
        let SmChange::Add { wrapped_dak, .. } = &update.entries[0].change else {
            unreachable!("it adds");
        };
        let dak = key.unwrap(&update.entries[0].smid, wrapped_dak).unwrap();
        assert_eq!(hex::encode_upper(dak.expose()), vector.dak);
        // A DAK wrapped for one module does not unwrap for another.
        assert!(key.unwrap(&update.entries[1].smid, wrapped_dak).is_err());
    }
}

#[test]
fn the_same_input_makes_the_same_file() {
    for vector in vectors() {
        let kmc_record = Record::parse(&vector.pk_record).unwrap();
        let kmc_key = PkEcdh::from_record(&kmc_record).unwrap();
        let kmc_point = vector.kmc_key().public_point();
        let read = vector.open(&vector.file()).unwrap();
        let dak = Dak::from_hex(&vector.dak).unwrap();
        let changes = read.entries.iter().map(|entry| {
            let (smid, hardware) = (entry.smid.clone(), entry.hardware.clone());
            match &entry.change {
                SmChange::Add { sgcs, .. } => Change::Add {
                    smid,
                    hardware,
                    dak: &dak,
                    sgcs: sgcs.clone(),
                },
                SmChange::Revoke => Change::Revoke { smid, hardware },
            }
        });
        let new = NewUpdate {
            kmc_key: &kmc_key,
            kmc_point: &kmc_point,
            serial: read.first.serial,
            time: read.first.time,
            ephemeral: &private_key(kmc_point.curve(), &vector.stsa_ephemeral_private),
            changes: changes.collect(),
        };
        let records = new.build().unwrap();
        let (_, expected) = vector
            .records()
            .split_last()
            .map(|(last, all)| (last.clone(), all.to_vec()))
            .unwrap();
        assert_eq!(records, expected);

        let signing_key = private_key(Curve::P384, &vector.stsa_sign_private);
        let signed = sign(records, &StsaSigningKey::new(&signing_key).unwrap());
        let again = vector.open(file::write(&signed).as_bytes()).unwrap();
        // The signature differs, but the file says the same.
        assert_eq!(again.digest, read.digest);
    }
}

#[test]
fn how_the_lines_end_does_not_matter() {
    for vector in vectors() {
        let text = String::from_utf8(vector.file()).unwrap();
        let digest = vector.open(text.as_bytes()).unwrap().digest;
        for variation in [
            text.replace("\r\n", "\n"),
            text.trim_end().to_owned(),
            format!("\u{feff}{text}"),
        ] {
            assert_eq!(vector.open(variation.as_bytes()).unwrap().digest, digest);
        }
    }
}

/// The whole file, bit by bit: each change is found by the form, the checksum
/// or the signature.
#[test]
fn every_bit_counts() {
    let vector = &vectors()[0];
    let file = vector.file();
    let mut by_signature = 0;
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let error = vector.open(&changed).unwrap_err();
        by_signature += usize::from(matches!(error, UpdateError::Signature(_)));
    }
    // The checksums find nearly all changes before the signature is verified.
    assert!(by_signature < file.len(), "{by_signature}");
}

/// The same with the checksum corrected, as a deliberate attacker would do.
#[test]
fn every_character_of_the_signed_records_counts() {
    for vector in vectors() {
        let records = vector.records();
        for (number, record) in records.iter().enumerate() {
            let fields = record.fields();
            for (place, field) in fields.iter().enumerate() {
                for at in 0..field.len() {
                    let mut own: Vec<String> = fields.iter().map(|&own| own.to_owned()).collect();
                    let new = if field[at..].starts_with('0') {
                        "1"
                    } else {
                        "0"
                    };
                    own[place].replace_range(at..=at, new);
                    if own[place] == *field {
                        continue;
                    }
                    let mut changed = records.clone();
                    changed[number] = Record::build(record.kind(), own).unwrap();
                    assert!(
                        vector.open(file::write(&changed).as_bytes()).is_err(),
                        "{place} {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn records_that_are_moved_cut_or_added_are_refused() {
    let vector = &vectors()[0];
    let records = vector.records();
    let mut swapped = records.clone();
    swapped.swap(1, 2);
    let mut unsigned = records.clone();
    unsigned.pop();
    let mut shorter = records.clone();
    shorter.remove(2);
    let mut longer = records.clone();
    longer.insert(2, records[2].clone());
    let signature_first = [&records[3..], &records[..3]].concat();
    for changed in [
        swapped,
        unsigned,
        shorter,
        longer,
        signature_first,
        records[3..].to_vec(),
    ] {
        assert!(vector.open(file::write(&changed).as_bytes()).is_err());
    }
    assert!(vector.open(b"").is_err());
    let other = &vectors()[1];
    assert_eq!(
        open(&other.file(), &[], time("20260601T000000Z")).unwrap_err(),
        UpdateError::Signature(SignatureFailure::NoKeys)
    );
}

#[test]
fn what_is_signed_and_contradicts_itself_is_refused() {
    let vector = &vectors()[0];
    let records = vector.records();
    let key = StsaSigningKey::new(&private_key(Curve::P384, &vector.stsa_sign_private)).unwrap();
    let signed = |records: Vec<Record>| {
        let file = file::write(&sign(records, &key));
        vector.open(file.as_bytes()).unwrap_err()
    };
    let twice = vec![records[0].clone(), records[1].clone(), records[1].clone()];
    assert!(matches!(signed(twice), UpdateError::Twice(_)));
    let fewer = vec![records[0].clone(), records[1].clone()];
    let expected = UpdateError::Count {
        stated: 2,
        found: 1,
    };
    assert_eq!(signed(fewer), expected);
    let mut zero = SmUpdate::from_record(&records[0]).unwrap();
    zero.serial = 0;
    let zero = vec![zero.to_record(), records[1].clone(), records[2].clone()];
    assert!(matches!(signed(zero), UpdateError::Record(_)));
    assert_eq!(signed(vec![]), UpdateError::Short);
    assert!(matches!(
        signed(records[1..3].to_vec()),
        UpdateError::Record(_)
    ));
}

#[test]
fn a_key_signs_within_its_time_and_no_other_key_does() {
    let vector = &vectors()[0];
    let file = vector.file();
    let at = |moment| {
        let failure = open(&file, &[vector.stsa_key()], time(moment)).err();
        failure.map(|error| error.to_string())
    };
    assert_eq!(at("20260101T000000Z"), None);
    assert_eq!(at("20261231T235959Z"), None);
    for outside in ["20251231T235959Z", "20270101T000000Z"] {
        assert!(at(outside).unwrap().contains("not valid now"), "{outside}");
    }
    let stranger = PrivateKey::generate(Curve::P384).unwrap();
    let stranger = StsaKey {
        key: StsaSigningKey::new(&stranger).unwrap().public().clone(),
        ..vector.stsa_key()
    };
    let moment = time("20260601T000000Z");
    assert_eq!(
        open(&file, std::slice::from_ref(&stranger), moment).unwrap_err(),
        UpdateError::Signature(SignatureFailure::NobodyKnown)
    );
    assert!(open(&file, &[stranger, vector.stsa_key()], moment).is_ok());
}
