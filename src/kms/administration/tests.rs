//! Orders of an operator that are carried out, and orders that are refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::slice;

use super::*;
use crate::kms::memory_tables::MemoryTables;
use crate::kms::{Curve, Kcv};
use crate::secrets::{Secret, assert_debug_hides};
use crate::sts::Dkga;

const NOW: &str = "2026-03-01T12:00:00Z";

struct Desk {
    tables: MemoryTables,
    storage_key: StorageKey,
}

impl Desk {
    fn new() -> Self {
        let storage_key = StorageKey::new(Secret::random().unwrap());
        Self {
            tables: MemoryTables::default(),
            storage_key,
        }
    }

    fn administration(&self) -> Administration<'_> {
        Administration::new(&self.tables, &self.storage_key)
    }

    async fn add_kmc_key(
        &self,
        key: &PrivateKey,
        activation: &str,
        expiry: &str,
    ) -> Result<KmcKeyRow, AdministrationError> {
        let (issuer, name) = ("Example".parse().unwrap(), "K1".parse().unwrap());
        let new = NewKmcKey {
            kmcid: new_kmcid(issuer, name, now()).unwrap(),
            private_key: key,
            activation: activation.parse().unwrap(),
            expiry: expiry.parse().unwrap(),
        };
        self.administration().add_kmc_key(new, now()).await
    }

    async fn add_module(
        &self,
        smid: &SmId,
        sgcs: BTreeSet<Sgc>,
    ) -> Result<ModuleRow, AdministrationError> {
        let (smid, hardware) = (smid.clone(), "Example-SM1".parse().unwrap());
        let new = NewModule {
            smid,
            hardware,
            sgcs,
            dak: &Dak::random().unwrap(),
        };
        self.administration().add_module(new, now()).await
    }
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn smid() -> SmId {
    new_smid("Example".parse().unwrap(), "9000".parse().unwrap(), now()).unwrap()
}

fn first_sgcs(number: u32) -> BTreeSet<Sgc> {
    (0..number)
        .map(|sgc| format!("{sgc:06}").parse().unwrap())
        .collect()
}

fn attributes(act: &str, iut: Option<&str>) -> VendingKeyAttributes {
    VendingKeyAttributes {
        sgc: "000439".parse().unwrap(),
        krn: "1".parse().unwrap(),
        kt: "2".parse().unwrap(),
        ken: 255,
        bdt: "1993".parse().unwrap(),
        dkga: Dkga::D02,
        act: act.parse().unwrap(),
        iut: iut.map(|iut| iut.parse().unwrap()),
        ulm: 0,
        clm: 0,
    }
}

#[test]
fn new_identifiers_are_created_now_and_unique() {
    let (one, two) = (smid(), smid());
    assert_eq!(one.created().to_string(), "20260301T120000Z");
    assert_ne!(one, two);
    let before: Timestamp = "1999-12-31T23:59:59Z".parse().unwrap();
    let error = new_smid("E".parse().unwrap(), "9".parse().unwrap(), before).unwrap_err();
    assert!(matches!(error, AdministrationError::Clock(at) if at == before));
}

#[tokio::test]
async fn a_kmc_key_needs_a_life_and_a_key_pair_of_its_own() {
    let desk = Desk::new();
    let key = PrivateKey::generate(Curve::P384).unwrap();
    for (activation, expiry) in [
        ("20260301T120000Z", "20260301T120000Z"),
        ("20260401T000000Z", "20260331T000000Z"),
        ("20260101T000000Z", "20260301T120000Z"),
    ] {
        let error = desk
            .add_kmc_key(&key, activation, expiry)
            .await
            .unwrap_err();
        assert!(
            matches!(error, AdministrationError::KmcKeyTimes { .. }),
            "{error}"
        );
    }
    let row = desk
        .add_kmc_key(&key, "20260101T000000Z", "20360101T000000Z")
        .await
        .unwrap();
    let opened = row.open(&desk.storage_key).unwrap();
    assert_eq!(opened.to_scalar().expose(), key.to_scalar().expose());
    let again = desk
        .add_kmc_key(&key, "20270101T000000Z", "20370101T000000Z")
        .await;
    let AdministrationError::KmcKeyInUse { kmcid } = again.unwrap_err() else {
        unreachable!()
    };
    assert_eq!(kmcid, row.kmcid);
    assert_eq!(desk.tables.content().kmc_keys.len(), 1);
}

#[tokio::test]
async fn a_first_kmc_key_is_refused_while_one_serves() {
    let desk = Desk::new();
    let first = async |activation: &str, expiry: &str| {
        let key = PrivateKey::generate(Curve::P256).unwrap();
        let new = NewKmcKey {
            kmcid: new_kmcid("E".parse().unwrap(), "K".parse().unwrap(), now()).unwrap(),
            private_key: &key,
            activation: activation.parse().unwrap(),
            expiry: expiry.parse().unwrap(),
        };
        desk.administration().add_first_kmc_key(new, now()).await
    };
    // A key that is still to come leaves the KMC without a key for now.
    let key = PrivateKey::generate(Curve::P256).unwrap();
    desk.add_kmc_key(&key, "20260401T000000Z", "20360101T000000Z")
        .await
        .unwrap();
    let serving = first("20260301T120000Z", "20360101T000000Z").await.unwrap();
    let refused = first("20260301T120000Z", "20370101T000000Z")
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("kmc rotate"), "{refused}");
    let AdministrationError::KmcKeyServes { kmcid } = refused else {
        unreachable!()
    };
    assert_eq!(kmcid, serving.kmcid);
    assert_eq!(desk.tables.content().kmc_keys.len(), 2);
}

#[tokio::test]
async fn a_vending_key_is_retired_and_stays_the_same_key() {
    let desk = Desk::new();
    let administration = desk.administration();
    let key = VendingKey::generate(Dkga::D02).unwrap();
    let new = NewVendingKey {
        attributes: attributes("20260101T000000Z", None),
        expires: None,
        key: &key,
    };
    let added = administration.add_vending_key(new, now()).await.unwrap();
    let (sgc, krn) = (added.attributes.sgc, added.attributes.krn);
    let last: StsTime = "20260301T115959Z".parse().unwrap();
    let retired = administration.retire(sgc, krn, last, now()).await.unwrap();
    assert_eq!(retired.expires, Some(last));
    assert_eq!(
        desk.tables.content().vending_keys,
        slice::from_ref(&retired)
    );
    let opened = retired.open(&desk.storage_key).unwrap();
    assert_eq!(opened.expose(), key.expose());
    let revision = desk.tables.content().revision;
    administration.retire(sgc, krn, last, now()).await.unwrap();
    assert_eq!(
        desk.tables.content().revision,
        revision,
        "nothing to change"
    );

    let successor = VendingKey::generate(Dkga::D04).unwrap();
    let new = || NewVendingKey {
        attributes: VendingKeyAttributes {
            dkga: Dkga::D04,
            ..attributes("20260301T000000Z", None)
        },
        expires: None,
        key: &successor,
    };
    let early = "2026-03-01T11:59:59Z".parse().unwrap();
    let refused = administration.replace_vending_key(new(), early).await;
    assert!(matches!(refused, Err(AdministrationError::StillIssued(_))));
    let replaced = administration
        .replace_vending_key(new(), now())
        .await
        .unwrap();
    assert_eq!(
        desk.tables.content().vending_keys,
        slice::from_ref(&replaced)
    );
    let opened = replaced.open(&desk.storage_key).unwrap();
    assert_eq!(opened.expose(), successor.expose());

    let other = "2".parse().unwrap();
    let unknown = administration.retire(sgc, other, last, now()).await;
    assert!(matches!(
        unknown,
        Err(AdministrationError::Tables(TablesError::Unknown(_)))
    ));
}

#[tokio::test]
async fn a_module_is_registered_once_authorised_and_revoked() {
    let desk = Desk::new();
    let smid = smid();
    let registered = desk.add_module(&smid, first_sgcs(2)).await.unwrap();
    assert_eq!(registered.state, ModuleState::Active);
    let dak = registered.open(&desk.storage_key).unwrap();
    let again = desk.add_module(&smid, first_sgcs(1)).await.unwrap_err();
    assert!(
        matches!(again, AdministrationError::Tables(TablesError::Exists(_))),
        "{again}"
    );

    let administration = desk.administration();
    let authorised = administration
        .authorise(&smid, SupplyGroups::Exactly(first_sgcs(3)), now())
        .await
        .unwrap();
    assert_eq!(
        (authorised.after.state, &authorised.after.sgcs),
        (ModuleState::Active, &first_sgcs(3))
    );
    let revoked = administration.revoke(&smid, now()).await.unwrap();
    assert_eq!(
        (revoked.state, &revoked.sgcs),
        (ModuleState::Revoked, &first_sgcs(3))
    );
    assert_eq!(
        revoked.open(&desk.storage_key).unwrap().expose(),
        dak.expose()
    );
    assert_eq!(desk.tables.content().modules, [revoked]);

    let authorised = administration
        .authorise(&smid, SupplyGroups::Exactly(first_sgcs(1)), now())
        .await
        .unwrap();
    assert_eq!(
        authorised.after.state,
        ModuleState::Revoked,
        "authorising revives nobody"
    );
}

#[tokio::test]
async fn supply_groups_are_added_and_removed_one_by_one() {
    let desk = Desk::new();
    let smid = smid();
    desk.add_module(&smid, first_sgcs(2)).await.unwrap();
    let sgc = |text: &str| -> BTreeSet<Sgc> { [text.parse().unwrap()].into() };
    let change = async |added, removed| {
        let groups = SupplyGroups::Changed { added, removed };
        desk.administration().authorise(&smid, groups, now()).await
    };
    let replaced = change(sgc("000009"), sgc("000000")).await.unwrap();
    assert_eq!(replaced.before.sgcs, first_sgcs(2));
    assert_eq!(replaced.after.sgcs, &sgc("000001") | &sgc("000009"));
    let again = change(sgc("000009"), BTreeSet::new()).await.unwrap();
    assert_eq!(again.after, replaced.after, "it has that already");
    let mistyped = change(BTreeSet::new(), sgc("000010")).await.unwrap_err();
    assert!(
        mistyped
            .to_string()
            .contains("does not have supply group 000010"),
        "{mistyped}"
    );
    assert_eq!(desk.tables.content().modules, [replaced.after]);
}

#[tokio::test]
async fn a_revoked_module_is_restored_and_not_added_again() {
    let desk = Desk::new();
    let smid = smid();
    let added = desk.add_module(&smid, first_sgcs(2)).await.unwrap();
    let again = desk.add_module(&smid, first_sgcs(2)).await.unwrap_err();
    let exists = matches!(again, AdministrationError::Tables(TablesError::Exists(_)));
    assert!(exists, "{again}");

    desk.administration().revoke(&smid, now()).await.unwrap();
    let again = desk.add_module(&smid, first_sgcs(1)).await.unwrap_err();
    assert!(again.to_string().contains("module restore"), "{again}");

    let restored = desk.administration().restore(&smid, now()).await.unwrap();
    assert_eq!(restored.state, ModuleState::Active);
    assert_eq!(
        (&restored.hardware, &restored.sgcs),
        (&added.hardware, &added.sgcs)
    );
    let dak = |row: &ModuleRow| row.open(&desk.storage_key).unwrap();
    assert_eq!(dak(&restored).expose(), dak(&added).expose());
    let revision = desk.tables.content().revision;
    desk.administration().restore(&smid, now()).await.unwrap();
    assert_eq!(desk.tables.content().revision, revision);
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let desk = Desk::new();
    let smid = smid();
    desk.add_module(&smid, first_sgcs(2)).await.unwrap();
    desk.administration().revoke(&smid, now()).await.unwrap();
    let revision = desk.tables.content().revision;
    desk.administration().revoke(&smid, now()).await.unwrap();
    desk.administration()
        .authorise(&smid, SupplyGroups::Exactly(first_sgcs(2)), now())
        .await
        .unwrap();
    assert_eq!(desk.tables.content().revision, revision);
}

#[tokio::test]
async fn an_unknown_module_is_neither_authorised_nor_revoked() {
    let desk = Desk::new();
    for error in [
        desk.administration()
            .revoke(&smid(), now())
            .await
            .unwrap_err(),
        desk.administration()
            .authorise(&smid(), SupplyGroups::Exactly(first_sgcs(1)), now())
            .await
            .unwrap_err(),
    ] {
        let unknown = matches!(error, AdministrationError::Tables(TablesError::Unknown(_)));
        assert!(unknown, "{error}");
    }
}

#[tokio::test]
async fn a_change_of_an_older_row_does_not_undo_a_newer_one() {
    let desk = Desk::new();
    let smid = smid();
    let read = desk.add_module(&smid, first_sgcs(2)).await.unwrap();
    desk.administration().revoke(&smid, now()).await.unwrap();
    let stale = desk.administration();
    let error = stale
        .replace(read, ModuleState::Active, first_sgcs(3), now())
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, AdministrationError::Tables(TablesError::Changed(_))),
        "{error}"
    );
    assert_eq!(desk.tables.content().modules[0].state, ModuleState::Revoked);
}

#[tokio::test]
async fn a_module_has_no_more_supply_groups_than_fit_into_a_file() {
    let desk = Desk::new();
    let smid = smid();
    let error = desk.add_module(&smid, first_sgcs(101)).await.unwrap_err();
    assert!(
        matches!(error, AdministrationError::TooManySupplyGroups(101)),
        "{error}"
    );
    desk.add_module(&smid, first_sgcs(100)).await.unwrap();
    let error = desk
        .administration()
        .authorise(&smid, SupplyGroups::Exactly(first_sgcs(101)), now())
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, AdministrationError::TooManySupplyGroups(101)),
        "{error}"
    );
    const { assert!(crate::sts::MAXIMUM_SUPPLY_GROUPS * 9 <= crate::kms::klf::MAXIMUM_KEYS) };
}

#[tokio::test]
async fn a_vending_key_has_times_in_their_order_and_is_there_once() {
    let desk = Desk::new();
    let key = VendingKey::from_hex(Dkga::D02, "37BAECCB3402916D").unwrap();
    let add = async |attributes, expires: Option<&str>| {
        let expires = expires.map(|expires| expires.parse().unwrap());
        let new = NewVendingKey {
            attributes,
            expires,
            key: &key,
        };
        assert_debug_hides(&new, key.expose());
        desk.administration().add_vending_key(new, now()).await
    };
    let act = "20260101T000000Z";
    for iut in [act, "20251231T235959Z"] {
        let error = add(attributes(act, Some(iut)), None).await.unwrap_err();
        assert!(matches!(error, AdministrationError::Iut { .. }), "{error}");
        let error = add(attributes(act, None), Some(iut)).await.unwrap_err();
        assert!(
            matches!(error, AdministrationError::Expires { .. }),
            "{error}"
        );
    }
    let next = Some("20260101T000001Z");
    let row = add(attributes(act, next), next).await.unwrap();
    assert_eq!(row.kcv, "6146DE".parse::<Kcv>().unwrap());
    assert_eq!(row.open(&desk.storage_key).unwrap().expose(), key.expose());
    let error = add(attributes(act, None), None).await.unwrap_err();
    assert!(
        matches!(error, AdministrationError::Tables(TablesError::Exists(_))),
        "{error}"
    );
}
