//! The order of checks, each refusal, and the content of a granted file.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::world::{NOW, World, at, attributes};
use super::*;
use crate::{
    kms::{
        Curve, IssueLimit, PrivateKey,
        administration::{Administration, SupplyGroups, new_kmcid},
        klf::Opener,
    },
    request_id::RequestId,
    sts::{Dkga, Krn, PointText, Sgc, TypedRecord as _, VendingKeyAttributes, VkloadRsp},
    time::Period,
};

fn refusal(issue: Issue) -> Refusal {
    match issue {
        Issue::Refused(refusal) => refusal,
        Issue::Granted(grant) => panic!("{:?} were granted", grant.keys),
    }
}

fn pairs(pairs: &[(&str, u8)]) -> Vec<(Sgc, Krn)> {
    pairs
        .iter()
        .map(|&(sgc, krn)| (sgc.parse().unwrap(), Krn::new(krn).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_granted_file_opens_to_exactly_the_modules_keys() {
    for curve in [Curve::P384, Curve::P256] {
        let world = World::new(curve).await;
        let request = world.request();
        let grant = world.granted(&request).await;
        let expected = pairs(&[("000439", 2), ("123456", 1)]);
        assert_eq!(grant.keys, expected);
        let opener = Opener {
            request: &request,
            module_key: &world.module_key,
            dak: &world.dak,
            kmc_point: &world.kmc_key.public_point(),
        };
        let opened = opener.open(&grant.key_load_file).unwrap();
        let response = VkloadRsp::from_record(&grant.key_load_file[0]).unwrap();
        assert_eq!(response.response_time.to_string(), "20260301T120000Z");
        let content = world.tables.content();
        for ((attributes, key), pair) in opened.iter().zip(expected) {
            assert_eq!((attributes.sgc, attributes.krn), pair);
            let row = content
                .vending_keys
                .iter()
                .find(|row| row.attributes == *attributes);
            assert_eq!(row.unwrap().kcv, key.kcv(attributes));
        }
    }
}

#[tokio::test]
async fn the_effects_say_what_was_issued_and_on_what_basis() {
    let world = World::new(Curve::P256).await;
    let request = world.request();
    let grant = world.granted(&request).await;
    let Effects::KlfIssued(issued) = grant.effects else {
        panic!("no effects")
    };
    assert_eq!(issued.smid, world.smid);
    assert_eq!(issued.request_time, request.time);
    assert_eq!(
        issued.replay_key,
        klf::replay_key(&request.smid, &request.public_key)
    );
    assert_eq!(issued.keys, grant.keys);
    assert_eq!(issued.basis, Revision(world.tables.content().revision));
}

#[tokio::test]
async fn a_module_gets_no_more_files_than_its_limit_within_the_time() {
    let mut world = World::new(Curve::P256).await;
    let limit = IssueLimit {
        at_most: NonZeroU32::new(2).unwrap(),
        within: SignedDuration::from_hours(1),
    };
    world.kms.settings.max_issues = limit.at_most;
    world.kms.settings.max_issues_within = Period::from_secs(3600);
    let issued = |times: &[&str]| {
        world.tables.content().issued = times.iter().copied().map(at).collect();
    };
    let request = world.request();

    issued(&["2026-03-01T11:30:00Z"]);
    let Effects::KlfIssued(granted) = world.granted(&request).await.effects else {
        panic!("no effects")
    };
    assert_eq!(granted.limit, Some(limit), "counted again at the commit");

    issued(&[
        "2026-03-01T11:00:01Z",
        "2026-03-01T11:30:00Z",
        "2026-03-01T11:45:00.5Z",
    ]);
    let until = "20260301T123001Z".parse().unwrap();
    assert_eq!(world.refused(&request).await, Refusal::Limit { until });

    issued(&["2026-03-01T11:00:00Z", "2026-03-01T11:30:00Z"]);
    world.granted(&request).await;
}

#[tokio::test]
async fn no_two_files_are_the_same() {
    let world = World::new(Curve::P256).await;
    let request = world.request();
    let (one, two) = (world.granted(&request).await, world.granted(&request).await);
    for (one, two) in one.key_load_file.iter().zip(&two.key_load_file) {
        assert_ne!(one.text(), two.text());
    }
}

/// A request with every possible fault. The faults are mended one by one, and each
/// time the next one in the order shows.
#[tokio::test]
async fn the_first_failure_in_the_order_decides() {
    let world = World::new(Curve::P256).await;
    let off_curve: PointText = format!("04{}", "0".repeat(128)).parse().unwrap();
    let mut request = world.request();
    request.time = "20260201T000000Z".parse().unwrap();
    request.kmcid = new_kmcid("Other".parse().unwrap(), "K1".parse().unwrap(), at(NOW)).unwrap();
    request.public_key = off_curve;
    let remember = |request: &VkloadReq| {
        let replay_key = klf::replay_key(&request.smid, &request.public_key);
        world.tables.content().replay_keys.insert(replay_key);
    };
    remember(&request);
    let vending_keys = std::mem::take(&mut world.tables.content().vending_keys);

    let now: StsTime = "20260301T120000Z".parse().unwrap();
    assert_eq!(world.refused(&request).await, Refusal::Expired { now });
    request.time = "20260302T000000Z".parse().unwrap();
    assert_eq!(world.refused(&request).await, Refusal::Future { now });
    request.time = now;
    assert_eq!(
        world.refused(&request).await,
        Refusal::Kmc {
            current: world.kmcid.clone()
        }
    );
    request.kmcid = world.kmcid.clone();
    let mac = Refusal::Authentication(AuthenticationFailure::Mac);
    assert_eq!(world.refused(&request).await, mac);
    request = world.signed(request);
    let refusal = world.refused(&request).await;
    assert_eq!(
        refusal,
        Refusal::PublicKey("the point does not lie on P-256".to_owned())
    );
    request = world.request();
    remember(&request);
    assert_eq!(world.refused(&request).await, Refusal::Replayed);
    request = world.changed(|request| {
        request.public_key = PrivateKey::generate(Curve::P256)
            .unwrap()
            .public_point()
            .to_text();
    });
    assert_eq!(world.refused(&request).await, Refusal::NoVendingKeys);
    world.tables.content().vending_keys = vending_keys;
    world.granted(&request).await;
}

#[tokio::test]
async fn tables_that_change_between_the_reads_are_read_again() {
    let world = World::new(Curve::P256).await;
    let question = IssueQuestion {
        request_id: RequestId::random().unwrap(),
        request: world.request(),
        accepted_at: at(NOW),
        now: at(NOW),
    };
    world.tables.content().changes_between_reads = true;
    let Issue::Granted(grant) = world.kms.issue(&question).await.unwrap() else {
        panic!("refused");
    };
    let content = world.tables.content();
    assert_eq!(content.reads, ["asker", "issuable", "asker", "issuable"]);
    let Effects::KlfIssued(issued) = grant.effects else {
        panic!("no effects")
    };
    assert_eq!(issued.basis, Revision(content.revision));
}

#[tokio::test]
async fn freshness_is_judged_at_the_time_of_acceptance() {
    let world = World::new(Curve::P256).await;
    let request = world.request();
    let late = world
        .answer_at(&request, "2026-03-02T12:00:00Z", "2026-03-09T00:00:00Z")
        .await;
    assert!(matches!(late, Ok(Issue::Granted(_))));
    let stale = world
        .answer_at(&request, "2026-03-02T12:00:01Z", "2026-03-02T12:00:02Z")
        .await;
    let now = "20260302T120001Z".parse().unwrap();
    assert_eq!(refusal(stale.unwrap()), Refusal::Expired { now });
    let early = world
        .answer_at(&request, "2026-03-01T11:54:59Z", "2026-03-01T12:00:00Z")
        .await;
    let now = "20260301T115459Z".parse().unwrap();
    assert_eq!(refusal(early.unwrap()), Refusal::Future { now });
}

#[tokio::test]
async fn the_window_is_a_setting() {
    let mut world = World::new(Curve::P256).await;
    world.kms.settings.max_age = Period::from_secs(0);
    world.kms.settings.max_ahead = Period::from_secs(0);
    let request = world.request();
    world.granted(&request).await;
    for accepted_at in ["2026-03-01T12:00:01Z", "2026-03-01T11:59:59Z"] {
        let answer = world.answer_at(&request, accepted_at, NOW).await.unwrap();
        assert!(matches!(
            refusal(answer),
            Refusal::Expired { .. } | Refusal::Future { .. }
        ));
    }
}

#[tokio::test]
async fn an_older_kmc_key_serves_until_it_expires_and_a_coming_one_not_yet() {
    let world = World::new(Curve::P256).await;
    let (second, third) = (
        PrivateKey::generate(Curve::P256).unwrap(),
        PrivateKey::generate(Curve::P384).unwrap(),
    );
    let current = world
        .add_kmc_key(&second, "20260201T000000Z", "20360101T000000Z")
        .await;
    let coming = world
        .add_kmc_key(&third, "20260401T000000Z", "20360101T000000Z")
        .await;
    world.granted(&world.request()).await;
    for kmcid in [&current, &coming] {
        let request = world.changed(|request| request.kmcid = kmcid.clone());
        if *kmcid == current {
            world.granted(&request).await;
        } else {
            let current = current.clone();
            assert_eq!(world.refused(&request).await, Refusal::Kmc { current });
        }
    }
    world.tables.content().kmc_keys[0].expiry = "20260301T120000Z".parse().unwrap();
    assert_eq!(
        world.refused(&world.request()).await,
        Refusal::Kmc { current }
    );
}

#[tokio::test]
async fn without_an_active_kmc_key_the_trouble_is_the_operators() {
    let world = World::new(Curve::P256).await;
    world.tables.content().kmc_keys.clear();
    for error in [
        world.answer(&world.request()).await.unwrap_err(),
        world.kms.public_key(at(NOW)).await.unwrap_err(),
    ] {
        assert!(matches!(error, KmsError::Unavailable(_)), "{error}");
        assert!(error.to_string().contains("kmc init"), "{error}");
    }
}

#[tokio::test]
async fn a_point_on_the_wrong_curve_is_refused() {
    let world = World::new(Curve::P384).await;
    let p256 = PrivateKey::generate(Curve::P256)
        .unwrap()
        .public_point()
        .to_text();
    let request = world.changed(|request| request.public_key = p256);
    let reason = "a point on P-384 has exactly 194 hexadecimal digits".to_owned();
    assert_eq!(world.refused(&request).await, Refusal::PublicKey(reason));
}

#[tokio::test]
async fn requests_up_to_the_watermark_count_as_replayed() {
    let world = World::new(Curve::P256).await;
    let watermark = "20260301T115959Z".parse().unwrap();
    world
        .tables
        .content()
        .watermarks
        .insert(world.smid.clone(), watermark);
    world.granted(&world.request()).await;
    for time in ["20260301T115959Z", "20260301T115958Z"] {
        let request = world.changed(|request| request.time = time.parse().unwrap());
        assert_eq!(world.refused(&request).await, Refusal::Replayed, "{time}");
    }
}

#[tokio::test]
async fn a_vending_key_is_issued_to_the_last_second_of_iut_and_exp() {
    let world = World::new(Curve::P256).await;
    let until_noon = VendingKeyAttributes {
        iut: Some("20260301T120000Z".parse().unwrap()),
        ..attributes("000439", 1, Dkga::D02)
    };
    world.add_vending_key(until_noon, None).await;
    let expiring = attributes("000439", 3, Dkga::D02);
    world
        .add_vending_key(expiring, Some("20260301T120001Z"))
        .await;
    let request = world.request();
    for (now, krns) in [
        ("2026-03-01T12:00:00.999Z", &[1, 2, 3][..]),
        ("2026-03-01T12:00:01Z", &[2, 3]),
        ("2026-03-01T12:00:02Z", &[2]),
    ] {
        let answer = world.answer_at(&request, NOW, now).await.unwrap();
        let Issue::Granted(grant) = answer else {
            panic!("nothing at {now}")
        };
        let mut expected: Vec<_> = krns.iter().map(|&krn| ("000439", krn)).collect();
        expected.push(("123456", 1));
        assert_eq!(grant.keys, pairs(&expected), "{now}");
    }
}

#[tokio::test]
async fn a_module_without_supply_groups_gets_nothing() {
    let world = World::new(Curve::P256).await;
    let storage_key = world.storage_key();
    let administration = Administration::new(&*world.tables, &storage_key);
    administration
        .authorise(&world.smid, SupplyGroups::Exactly(BTreeSet::new()), at(NOW))
        .await
        .unwrap();
    assert_eq!(
        world.refused(&world.request()).await,
        Refusal::NoVendingKeys
    );
}

#[tokio::test]
async fn the_public_key_is_the_active_ones_and_has_a_sealed_row() {
    for curve in [Curve::P384, Curve::P256] {
        let world = World::new(curve).await;
        let answer = world.kms.public_key(at(NOW)).await.unwrap();
        assert_eq!(answer.record.kmcid, world.kmcid);
        assert_eq!(
            answer.record.public_key,
            world.kmc_key.public_point().to_text()
        );
        assert_eq!(answer.record.expiry.to_string(), "20360101T000000Z");
        assert_eq!(
            answer.fingerprint,
            world.kmc_key.public_point().fingerprint()
        );

        let attackers = PrivateKey::generate(curve)
            .unwrap()
            .public_point()
            .to_text();
        world.tables.content().kmc_keys[0].public_key = attackers;
        let error = world.kms.public_key(at(NOW)).await.unwrap_err();
        assert!(matches!(error, KmsError::Sealed(_)), "{error}");
    }
}

#[tokio::test]
async fn a_clock_before_the_records_is_the_operators_trouble() {
    let world = World::new(Curve::P256).await;
    let long_ago = "1999-12-31T23:59:59Z";
    for error in [
        world
            .answer_at(&world.request(), NOW, long_ago)
            .await
            .unwrap_err(),
        world
            .answer_at(&world.request(), long_ago, NOW)
            .await
            .unwrap_err(),
        world.kms.public_key(at(long_ago)).await.unwrap_err(),
    ] {
        assert!(matches!(error, KmsError::Unavailable(_)), "{error}");
    }
}
