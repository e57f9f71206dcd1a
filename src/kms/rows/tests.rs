//! A sealed secret opens in its own row as it was sealed, and nowhere else.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::kms::{Revision, SealedRows};
use crate::secrets::assert_debug_hides;
use crate::sts::Dkga;

fn storage_key() -> StorageKey {
    StorageKey::new(Secret::random().unwrap())
}

fn kmc_key_row(storage_key: &StorageKey, private_key: &PrivateKey) -> KmcKeyRow {
    let created = "20260101T000000Z".parse().unwrap();
    let kmcid = KmcId::new(
        "Example".parse().unwrap(),
        "K1".parse().unwrap(),
        created,
        [1; 8],
    );
    let expiry = "20360101T000000Z".parse().unwrap();
    KmcKeyRow::seal(storage_key, private_key, kmcid, created, expiry).unwrap()
}

fn smid(unique: u8) -> SmId {
    let created = "20260101T000000Z".parse().unwrap();
    SmId::new(
        "Example".parse().unwrap(),
        "90000001".parse().unwrap(),
        created,
        [unique; 8],
    )
}

fn sgcs<const N: usize>(sgcs: [&str; N]) -> BTreeSet<Sgc> {
    sgcs.map(|sgc| sgc.parse().unwrap()).into()
}

fn module_row(storage_key: &StorageKey, dak: &Dak) -> ModuleRow {
    let (hardware, sgcs) = ("Example-SM1".parse().unwrap(), sgcs(["000439", "123456"]));
    ModuleRow::seal(
        storage_key,
        dak,
        smid(1),
        hardware,
        ModuleState::Active,
        sgcs,
    )
    .unwrap()
}

fn vending_key_row(storage_key: &StorageKey, key: &VendingKey) -> VendingKeyRow {
    let attributes = VendingKeyAttributes {
        sgc: "000439".parse().unwrap(),
        krn: "1".parse().unwrap(),
        kt: "2".parse().unwrap(),
        ken: 255,
        bdt: "1993".parse().unwrap(),
        dkga: Dkga::D02,
        act: "20260101T000000Z".parse().unwrap(),
        iut: Some("20360101T000000Z".parse().unwrap()),
        ulm: 1,
        clm: 2,
    };
    VendingKeyRow::seal(storage_key, key, attributes, None).unwrap()
}

/// Asserts that `row` opens as it is and after none of the changes.
fn assert_noticed<Row: Clone>(
    row: &Row,
    opens: impl Fn(&Row) -> bool,
    changes: &[&dyn Fn(&mut Row)],
) {
    assert!(opens(row));
    for (number, change) in changes.iter().enumerate() {
        let mut changed = row.clone();
        change(&mut changed);
        assert!(!opens(&changed), "change {number}");
    }
}

#[test]
fn a_kmc_key_opens_only_in_its_row_as_it_was() {
    let (storage_key, other_storage_key) = (storage_key(), storage_key());
    for curve in [Curve::P384, Curve::P256] {
        let private_key = PrivateKey::generate(curve).unwrap();
        let row = kmc_key_row(&storage_key, &private_key);
        let other_row = kmc_key_row(&storage_key, &PrivateKey::generate(curve).unwrap());
        let (issuer, name) = (row.kmcid.issuer().clone(), row.kmcid.name().clone());
        let other_kmcid = KmcId::new(issuer, name, row.kmcid.created(), [2; 8]);
        let opened = row.open(&storage_key).unwrap();
        assert_eq!(
            opened.to_scalar().expose(),
            private_key.to_scalar().expose()
        );
        assert!(row.open(&other_storage_key).is_err());
        assert_noticed(
            &row,
            |row| row.open(&storage_key).is_ok(),
            &[
                &|row| row.kmcid = other_kmcid.clone(),
                &|row| {
                    row.curve = if curve == Curve::P384 {
                        Curve::P256
                    } else {
                        Curve::P384
                    }
                },
                &|row| row.public_key = other_row.public_key.clone(),
                &|row| row.activation = "20260101T000001Z".parse().unwrap(),
                &|row| row.expiry = "20360101T000001Z".parse().unwrap(),
                &|row| row.sealed_private_key = other_row.sealed_private_key.clone(),
            ],
        );
        assert_debug_hides(&row, private_key.to_scalar().expose());
    }
}

#[test]
fn a_dak_opens_only_in_its_row_as_it_was() {
    let (storage_key, dak) = (storage_key(), Dak::random().unwrap());
    let row = module_row(&storage_key, &dak);
    assert_eq!(row.open(&storage_key).unwrap().expose(), dak.expose());
    let (hardware, others) = (row.hardware.clone(), row.sgcs.clone());
    let other_row =
        ModuleRow::seal(&storage_key, &dak, smid(2), hardware, row.state, others).unwrap();
    assert_noticed(
        &row,
        |row| row.open(&storage_key).is_ok(),
        &[
            &|row| row.smid = smid(2),
            &|row| row.hardware = "Example-SM2".parse().unwrap(),
            &|row| row.state = ModuleState::Revoked,
            &|row| row.sgcs = sgcs(["000439"]),
            &|row| row.sgcs = sgcs(["000439", "123456", "123457"]),
            &|row| row.sgcs = sgcs([]),
            &|row| row.sealed_dak = other_row.sealed_dak.clone(),
        ],
    );
    assert_debug_hides(&row, dak.expose());
}

#[test]
fn a_vending_key_opens_only_in_its_row_as_it_was() {
    let storage_key = storage_key();
    let key = VendingKey::generate(Dkga::D02).unwrap();
    let row = vending_key_row(&storage_key, &key);
    let other_row = vending_key_row(&storage_key, &VendingKey::generate(Dkga::D02).unwrap());
    assert_eq!(row.open(&storage_key).unwrap().expose(), key.expose());
    assert_noticed(
        &row,
        |row| row.open(&storage_key).is_ok(),
        &[
            &|row| row.attributes.sgc = "000440".parse().unwrap(),
            &|row| row.attributes.krn = "2".parse().unwrap(),
            &|row| row.attributes.kt = "1".parse().unwrap(),
            &|row| row.attributes.ken = 254,
            &|row| row.attributes.bdt = "2014".parse().unwrap(),
            &|row| row.attributes.dkga = Dkga::D01,
            &|row| row.attributes.act = "20260101T000001Z".parse().unwrap(),
            &|row| row.attributes.iut = Some("20360101T000001Z".parse().unwrap()),
            &|row| row.attributes.iut = None,
            &|row| {
                // The same value in another field.
                row.expires = row.attributes.iut;
                row.attributes.iut = None;
            },
            &|row| (row.attributes.ulm, row.attributes.clm) = (2, 1),
            &|row| row.attributes.clm = 3,
            &|row| row.expires = Some("20300101T000000Z".parse().unwrap()),
            &|row| row.kcv = other_row.kcv,
            &|row| row.sealed_key = other_row.sealed_key.clone(),
        ],
    );
    assert_debug_hides(&row, key.expose());
}

#[test]
fn a_row_of_one_table_opens_in_no_other() {
    let (storage_key, dak) = (storage_key(), Dak::random().unwrap());
    let module = module_row(&storage_key, &dak);
    let mut kmc = kmc_key_row(&storage_key, &PrivateKey::generate(Curve::P256).unwrap());
    kmc.sealed_private_key = module.sealed_dak;
    let refused = kmc.open(&storage_key).unwrap_err();
    assert_eq!(refused.row, format!("kmc_key {}", kmc.kmcid));
}

#[test]
fn a_change_of_a_module_is_told_in_words() {
    let (storage_key, dak) = (storage_key(), Dak::random().unwrap());
    let before = module_row(&storage_key, &dak);
    let mut after = before.clone();
    assert_eq!(after.change_from(&before), "sealed anew");
    after.state = ModuleState::Revoked;
    after.hardware = "Example-SM2".parse().unwrap();
    after.sgcs = sgcs(["123456", "654321"]);
    assert_eq!(
        after.change_from(&before),
        "hardware id Example-SM1 -> Example-SM2, active -> revoked, +654321, -000439"
    );
}

#[test]
fn the_state_of_a_module_is_read_back() {
    for state in [ModuleState::Active, ModuleState::Revoked] {
        assert_eq!(state.to_string().parse(), Ok(state));
    }
    assert_eq!("Active".parse::<ModuleState>(), Err(UnknownModuleState));
}

#[test]
fn every_row_sealed_anew_opens_by_the_new_key_alone() {
    let (old, new) = (storage_key(), storage_key());
    let private_key = PrivateKey::generate(Curve::P384).unwrap();
    let (dak, key) = (
        Dak::random().unwrap(),
        VendingKey::generate(Dkga::D02).unwrap(),
    );
    let rows = SealedRows {
        revision: Revision(3),
        kmc_keys: vec![kmc_key_row(&old, &private_key)],
        modules: vec![module_row(&old, &dak)],
        vending_keys: vec![vending_key_row(&old, &key)],
    };
    let anew = rows.reseal(&old, &new).unwrap();
    for (row, before) in anew.kmc_keys.iter().zip(&rows.kmc_keys) {
        let opened = row.open(&new).unwrap();
        assert_eq!(
            opened.to_scalar().expose(),
            private_key.to_scalar().expose()
        );
        assert!(row.open(&old).is_err());
        assert_ne!(row.sealed_private_key, before.sealed_private_key);
    }
    for (row, before) in anew.modules.iter().zip(&rows.modules) {
        assert_eq!(row.open(&new).unwrap().expose(), dak.expose());
        assert!(row.open(&old).is_err());
        assert_ne!(row.sealed_dak, before.sealed_dak);
    }
    for (row, before) in anew.vending_keys.iter().zip(&rows.vending_keys) {
        assert_eq!(row.open(&new).unwrap().expose(), key.expose());
        assert!(row.open(&old).is_err());
        assert_ne!(row.sealed_key, before.sealed_key);
    }
    let lengths = (anew.kmc_keys.len(), anew.modules.len());
    assert_eq!((lengths, anew.vending_keys.len()), ((1, 1), 1));

    let mut altered = rows;
    altered.modules.iter_mut().for_each(|row| row.sgcs.clear());
    let error = altered.reseal(&old, &new).unwrap_err().to_string();
    assert!(
        error.starts_with("module SMID.1:") && error.contains("nothing was changed"),
        "{error}"
    );
}
