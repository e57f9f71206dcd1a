//! Requests that are no module's, rows that somebody altered, and the data that is
//! read before either is known.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::{
    world::{NOW, World, at},
    *,
};
use crate::{
    kms::{
        Curve,
        administration::{Administration, new_smid},
    },
    sts::{Krn, Sgc},
};

#[tokio::test]
async fn each_failure_of_authenticity_is_told_apart_for_the_audit() {
    use AuthenticationFailure::{HardwareId, Mac, Revoked, UnknownModule};
    let world = World::new(Curve::P256).await;
    let authentication = async |request: &VkloadReq, expected| {
        assert_eq!(
            world.refused(request).await,
            Refusal::Authentication(expected)
        );
    };
    let mut wrong_mac = world.request();
    wrong_mac.mac[0] ^= 1;
    authentication(&wrong_mac, Mac).await;
    let other_hardware = world.changed(|request| {
        request.hardware = "Example-SM2".parse().unwrap();
    });
    authentication(&other_hardware, HardwareId).await;
    let unknown = world.changed(|request| {
        let (issuer, name) = ("Example".parse().unwrap(), "9001".parse().unwrap());
        request.smid = new_smid(issuer, name, at(NOW)).unwrap();
    });
    authentication(&unknown, UnknownModule).await;
    let storage_key = world.storage_key();
    let administration = Administration::new(&*world.tables, &storage_key);
    administration.revoke(&world.smid, at(NOW)).await.unwrap();
    authentication(&world.request(), Revoked).await;
}

/// A private key that doesn't open is trouble as soon as it is used. A request
/// without a right MAC never gets that far.
#[tokio::test]
async fn the_kmcs_private_key_is_not_touched_before_the_mac_is_verified() {
    let world = World::new(Curve::P256).await;
    world.tables.content().kmc_keys[0].sealed_private_key = Sealed::from_bytes(vec![0; 60]);
    let mut wrong_mac = world.request();
    wrong_mac.mac[23] ^= 1;
    let refusal = world.refused(&wrong_mac).await;
    assert_eq!(refusal, Refusal::Authentication(AuthenticationFailure::Mac));
    let error = world.answer(&world.request()).await.unwrap_err();
    assert!(matches!(error, KmsError::Sealed(_)), "{error}");
}

/// The time to read a module's keys grows with their number. A stranger who measured
/// it would know which modules exist.
#[tokio::test]
async fn what_a_module_may_have_is_not_read_before_its_mac_is_verified() {
    let world = World::new(Curve::P256).await;
    let mut wrong_mac = world.request();
    wrong_mac.mac[0] ^= 1;
    let unknown = world.changed(|request| {
        request.smid =
            new_smid("Example".parse().unwrap(), "9001".parse().unwrap(), at(NOW)).unwrap();
    });
    let strange_hardware = world.changed(|request| request.hardware = "SM2".parse().unwrap());
    let reads = |world: &World| std::mem::take(&mut world.tables.content().reads);
    for request in [&wrong_mac, &unknown, &strange_hardware] {
        reads(&world);
        assert!(!world.kms.is_from_module(request, at(NOW)).await.unwrap());
        assert_eq!(reads(&world), ["asker"]);
        let refusal = world.refused(request).await;
        assert!(matches!(refusal, Refusal::Authentication(_)), "{refusal}");
        assert_eq!(reads(&world), ["asker"; 2], "foretold, and issued");
    }
    let request = world.request();
    assert!(world.kms.is_from_module(&request, at(NOW)).await.unwrap());
    assert_eq!(reads(&world), ["asker"]);
    world.granted(&request).await;
    assert_eq!(reads(&world), ["asker", "issuable", "asker", "issuable"]);
}

/// An attacker who can write to the tables but lacks the storage key can't make the
/// KMC issue anything more: it stops.
#[tokio::test]
async fn an_altered_row_stops_the_issue() {
    use crate::kms::memory_tables::Content;
    let sgc: Sgc = "999999".parse().unwrap();
    let alterations: [&dyn Fn(&mut Content); 5] = [
        &|content| content.modules[0].sgcs = [sgc].into(),
        &|content| content.modules[0].hardware = "Example-SM2".parse().unwrap(),
        &|content| content.kmc_keys[0].expiry = "20370101T000000Z".parse().unwrap(),
        &|content| content.vending_keys[0].attributes.krn = Krn::new(9).unwrap(),
        &|content| content.vending_keys[1].expires = Some("20370101T000000Z".parse().unwrap()),
    ];
    for (number, alter) in alterations.iter().enumerate() {
        let world = World::new(Curve::P256).await;
        alter(&mut world.tables.content());
        let error = world.answer(&world.request()).await.unwrap_err();
        assert!(matches!(error, KmsError::Sealed(_)), "{number}: {error}");
    }
    let world = World::new(Curve::P256).await;
    let storage_key = world.storage_key();
    let administration = Administration::new(&*world.tables, &storage_key);
    administration.revoke(&world.smid, at(NOW)).await.unwrap();
    world.tables.content().modules[0].state = ModuleState::Active;
    let error = world.answer(&world.request()).await.unwrap_err();
    assert!(matches!(error, KmsError::Sealed(_)), "{error}");
}

#[tokio::test]
async fn the_decoy_is_of_this_process_and_no_modules_key() {
    let world = World::new(Curve::P256).await;
    let other = EmbeddedKms::new(
        world.tables.clone(),
        world.storage_key(),
        KeyLoadFileSettings::default(),
    )
    .unwrap();
    let storage_key = world.storage_key();
    let one = world.kms.decoy.open(&storage_key).unwrap();
    let two = other.decoy.open(&storage_key).unwrap();
    assert_ne!(one.expose(), two.expose());
}

#[tokio::test]
async fn a_request_is_its_modules_while_it_is_fresh_and_unanswered() {
    let world = World::new(Curve::P256).await;
    let request = world.request();
    let is_from_module = async |request: &VkloadReq, now| {
        let revision = world.tables.content().revision;
        let answer = world.kms.is_from_module(request, at(now)).await.unwrap();
        assert_eq!(world.tables.content().revision, revision);
        answer
    };
    assert!(is_from_module(&request, NOW).await);
    assert!(!is_from_module(&request, "2026-04-01T12:00:00Z").await);
    assert!(!is_from_module(&request, "2026-02-01T12:00:00Z").await);
    let mut forged = request.clone();
    forged.mac[0] ^= 1;
    assert!(!is_from_module(&forged, NOW).await);
    let other = world.changed(|request| {
        request.smid =
            new_smid("Example".parse().unwrap(), "9001".parse().unwrap(), at(NOW)).unwrap();
    });
    assert!(!is_from_module(&other, NOW).await);
    let replay_key = klf::replay_key(&request.smid, &request.public_key);
    world.tables.content().replay_keys.insert(replay_key);
    assert!(!is_from_module(&request, NOW).await);
}
