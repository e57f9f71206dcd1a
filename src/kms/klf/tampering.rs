//! Every change to a request or a key load file is noticed, whoever made it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::build::BuildError;
use super::keys::prefix;
use super::vectors::{Exchange, Key};
use super::*;
use crate::kms::curve::{Curve, PointError, PrivateKey};
use crate::kms::dak::Dak;
use crate::kms::vending_key::{VendingKey, VendingKeyError};
use crate::secrets::primitives::{self, WrapError};
use crate::sts::{Dkga, Krn, Record, TypedRecord as _, VendingKeyAttributes, Vk, VkloadReq, file};
use crate::sts::{Identifier, IdentifierKind, Kmc, Sm};

#[test]
fn a_request_with_any_changed_field_is_not_authentic() {
    for (_, Exchange { dak, request, .. }) in Exchange::all() {
        let changes: [fn(&mut VkloadReq); 7] = [
            |request| {
                request.smid = other("SMID.1:Example:90000002:20260102T030405Z:09D598DBA26CF3AC:")
            },
            |request| {
                request.kmcid = other("KMCID.1:Example:K0002:20260101T000000Z:3459734C8215E5FE:")
            },
            |request| request.time = "20260301T120001Z".parse().unwrap(),
            |request| request.hardware = "Example-SM2".parse().unwrap(),
            |request| request.firmware = "FW1.1".parse().unwrap(),
            |request| request.public_key = "04".parse().unwrap(),
            |request| request.mac[23] ^= 1,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut changed = request.clone();
            change(&mut changed);
            assert!(!dak.authenticates(&changed), "change {number}");
        }
        assert!(!Dak::random().unwrap().authenticates(&request));
    }
}

/// The identifier with this text before its checksum.
fn other<K: IdentifierKind>(covered: &str) -> Identifier<K> {
    let parts: Vec<_> = covered.split(':').collect();
    let unique = hex::decode(parts[4]).unwrap().try_into().unwrap();
    let (issuer, name) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
    Identifier::new(issuer, name, parts[3].parse().unwrap(), unique)
}

/// `record` with the field at `index` changed and its checksum right.
fn with_field(record: &Record, index: usize, value: &str) -> Record {
    let mut fields: Vec<_> = record
        .fields()
        .iter()
        .map(|&field| field.to_owned())
        .collect();
    value.clone_into(&mut fields[index]);
    Record::build(record.kind(), fields).unwrap()
}

fn with_vk(record: &Record, change: impl FnOnce(&mut Vk)) -> Record {
    let mut vk = Vk::from_record(record).unwrap();
    change(&mut vk);
    vk.to_record()
}

#[test]
fn a_file_with_any_changed_field_has_a_wrong_mac() {
    for (_, exchange) in Exchange::all() {
        let wrapped = exchange.file[1].fields()[10].replace('0', "1");
        let changes = [
            (0, 3, "20260301T120006Z"),
            (0, 4, "3"),
            (0, 5, "00000000000000000000000000000000"),
            (1, 0, "000440"),
            (1, 1, "2"),
            (1, 2, "1"),
            (1, 3, "254"),
            (1, 4, "2014"),
            (1, 5, "01"),
            (1, 6, "20260101T000001Z"),
            (1, 7, "20360101T000000Z"),
            (1, 8, "FFFFFFFE"),
            (1, 9, "FFFFFFFE"),
            (1, 10, &wrapped),
            (3, 0, "2EB705DA4D05E472F216D34AEFA079B7995B8BC62E65D273"),
        ];
        for (record, field, value) in changes {
            let mut file = exchange.file.clone();
            file[record] = with_field(&file[record], field, value);
            assert_ne!(file[record], exchange.file[record]);
            assert_eq!(
                exchange.open(&file).unwrap_err(),
                OpenError::Mac,
                "{record} {field}"
            );
        }
    }
}

/// The whole file, bit by bit: each change is found by the form, the checksum
/// or the MAC.
#[test]
fn every_bit_of_a_file_counts() {
    for (_, exchange) in Exchange::all() {
        let text = file::write(&exchange.file);
        assert!(exchange.open(&exchange.file).is_ok());
        for bit in 0..text.len() * 8 {
            let mut changed = text.as_bytes().to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(records) = file::parse(&changed) {
                assert!(exchange.open(&records).is_err(), "bit {bit}");
            }
        }
    }
}

/// The same with the checksum corrected, as a deliberate attacker would do.
#[test]
fn every_character_of_a_file_counts() {
    for (_, exchange) in Exchange::all() {
        for (number, record) in exchange.file.iter().enumerate() {
            let fields = record.fields();
            for (place, field) in fields.iter().enumerate() {
                for (at, character) in field.char_indices() {
                    let mut changed = (*field).to_owned();
                    let other = if character == '0' { "1" } else { "0" };
                    changed.replace_range(at..=at, other);
                    let mut file = exchange.file.clone();
                    file[number] = with_field(record, place, &changed);
                    assert!(
                        exchange.open(&file).is_err(),
                        "record {number}, field {place}, character {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_file_with_records_moved_or_missing_is_refused() {
    for (_, exchange) in Exchange::all() {
        let file = &exchange.file;
        let of = |order: &[usize]| -> Vec<_> { order.iter().map(|&at| file[at].clone()).collect() };
        for order in [&[0, 2, 1, 3][..], &[0, 1, 3], &[0, 1, 1, 2, 3], &[0, 3]] {
            assert_eq!(
                exchange.open(&of(order)).unwrap_err(),
                OpenError::Mac,
                "{order:?}"
            );
        }
        for order in [&[][..], &[0], &[3]] {
            assert_eq!(
                exchange.open(&of(order)).unwrap_err(),
                OpenError::Short,
                "{order:?}"
            );
        }
        for order in [&[1, 2, 3][..], &[0, 1, 2], &[3, 1, 2, 0]] {
            let error = exchange.open(&of(order)).unwrap_err();
            assert!(matches!(error, OpenError::Record(_)), "{order:?}: {error}");
        }
    }
}

#[test]
fn a_file_for_another_request_is_refused() {
    for (_, exchange) in Exchange::all() {
        let kmcid = "KMCID.1:Example:K0002:20260101T000000Z:3459734C8215E5FE:";
        let smid = "SMID.1:Example:90000002:20260102T030405Z:09D598DBA26CF3AC:";
        for (field, value) in [
            (0, other::<Kmc>(kmcid).to_string()),
            (1, other::<Sm>(smid).to_string()),
            (2, "20260301T120001Z".to_owned()),
        ] {
            let mut file = exchange.file.clone();
            file[0] = with_field(&file[0], field, &value);
            assert_eq!(exchange.open(&file).unwrap_err(), OpenError::OtherRequest);
        }
        // The same fields, and yet another text of the request.
        let mut other_request = exchange.request.clone();
        other_request.firmware = "FW2".parse().unwrap();
        let opener = Opener {
            request: &other_request,
            module_key: &exchange.module_key,
            dak: &exchange.dak,
            kmc_point: &exchange.kmc_key.public_point(),
        };
        assert_eq!(opener.open(&exchange.file).unwrap_err(), OpenError::Mac);
    }
}

#[test]
fn nobody_else_opens_a_file() {
    for (_, exchange) in Exchange::all() {
        let curve = exchange.kmc_key.curve();
        let (key, dak) = (PrivateKey::generate(curve).unwrap(), Dak::random().unwrap());
        let kmc_point = exchange.kmc_key.public_point();
        let other_curve = if curve == Curve::P384 {
            Curve::P256
        } else {
            Curve::P384
        };
        let other_point = PrivateKey::generate(other_curve).unwrap().public_point();
        let module = Opener {
            request: &exchange.request,
            module_key: &exchange.module_key,
            dak: &exchange.dak,
            kmc_point: &kmc_point,
        };
        assert!(module.open(&exchange.file).is_ok());
        for (opener, refusal) in [
            (
                Opener {
                    module_key: &key,
                    ..module
                },
                OpenError::Mac,
            ),
            (
                Opener {
                    dak: &dak,
                    ..module
                },
                OpenError::Mac,
            ),
            (
                Opener {
                    kmc_point: &key.public_point(),
                    ..module
                },
                OpenError::Mac,
            ),
            (
                Opener {
                    kmc_point: &other_point,
                    ..module
                },
                PointError::TwoCurves.into(),
            ),
        ] {
            assert_eq!(opener.open(&exchange.file).unwrap_err(), refusal);
        }
    }
}

/// A module refuses even the faults that only the KMC itself could make.
#[test]
fn a_file_that_contradicts_itself_is_refused_under_a_right_mac() {
    for (_, exchange) in Exchange::all() {
        let refused = |change: &dyn Fn(&mut Vec<Record>)| {
            exchange
                .open(&exchange.resealed(|records| change(records)))
                .unwrap_err()
        };
        assert_eq!(
            refused(&|records| drop(records.pop())),
            OpenError::Count {
                stated: 2,
                found: 1
            }
        );
        assert_eq!(refused(&|records| records.swap(1, 2)), OpenError::Order);
        assert_eq!(
            refused(&|records| records[2] = records[1].clone()),
            OpenError::Order
        );
        let attributes: [&dyn Fn(&mut Vk); 3] = [
            &|vk| vk.attributes.sgc = "000440".parse().unwrap(),
            &|vk| vk.attributes.krn = Krn::new(2).unwrap(),
            &|vk| vk.attributes.kt = "1".parse().unwrap(),
        ];
        for change in attributes {
            let error = refused(&|records| records[1] = with_vk(&records[1], change));
            assert_eq!(error, OpenError::Attributes);
        }
        let error = refused(&|records| {
            records[1] = with_vk(&records[1], |vk| vk.wrapped_key[0] ^= 1);
        });
        assert_eq!(error, OpenError::Wrap(WrapError::Integrity));
    }
}

#[test]
fn a_wrapped_key_that_its_algorithm_does_not_allow_is_refused() {
    for (vector, exchange) in Exchange::all() {
        let (attributes, _) = vector.vending_keys[0].read();
        let keys = exchange.keys();
        for (key, refusal) in [
            ([0x01; 8], VendingKeyError::Weak),
            ([0x03; 8], VendingKeyError::Parity),
        ] {
            let plain = [prefix(&attributes), key].concat();
            let wrapped_key = primitives::wrap(&keys.key_encryption_key, &plain).unwrap();
            let file = exchange.resealed(|records| {
                records[1] = with_vk(&records[1], |vk| vk.wrapped_key = wrapped_key);
            });
            assert_eq!(exchange.open(&file).unwrap_err(), OpenError::Key(refusal));
        }
    }
}

#[test]
fn what_fits_into_no_file_is_not_built() {
    for (vector, exchange) in Exchange::all() {
        let twice = || {
            vector
                .vending_keys
                .iter()
                .chain(&vector.vending_keys)
                .map(Key::read)
        };
        let error = exchange.try_build(twice().collect()).unwrap_err();
        assert_eq!(
            error,
            BuildError::Twice("000439".parse().unwrap(), Krn::new(1).unwrap())
        );
        let many = |number: u32| {
            let (attributes, _) = vector.vending_keys[0].read();
            let numbered = |sgc: u32| VendingKeyAttributes {
                sgc: format!("{sgc:06}").parse().unwrap(),
                ..attributes.clone()
            };
            (0..number)
                .map(|sgc| (numbered(sgc), VendingKey::generate(Dkga::D02).unwrap()))
                .collect()
        };
        assert_eq!(
            exchange.try_build(many(999)).unwrap_err(),
            BuildError::TooManyKeys(999)
        );
        let largest = exchange.try_build(many(998)).unwrap();
        assert_eq!(
            file::parse(file::write(&largest).as_bytes()).unwrap(),
            largest
        );
        assert_eq!(exchange.open(&largest).unwrap().len(), 998);
    }
}
