//! Acceptance: duplicates, bounds, and forgotten identities.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::StoreError;
use crate::store::testing::{TestStore, at, completion, id, request};

#[tokio::test]
async fn an_accepted_request_comes_back_as_it_was() {
    let test = TestStore::new().await;
    assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);

    let leased = test.lease(at(2)).await.unwrap();
    let accepted = request(1);
    assert_eq!(leased.id, accepted.id);
    assert_eq!(leased.accepted_at, accepted.accepted_at);
    assert_eq!(leased.queue_id, accepted.queue_id);
    assert_eq!(leased.reverse_path, accepted.reverse_path);
    assert_eq!(leased.message, accepted.message);
    assert_eq!(leased.attempts, 1);
    assert_eq!(
        test.events().await,
        [(Event::Accepted, Some(id(1).to_string()))]
    );
}

#[tokio::test]
async fn the_same_message_is_known_for_seven_days() {
    let test = TestStore::new().await;
    test.store.accept(request(1)).await.unwrap();
    let again = |seconds: i64, number: u8| {
        let passed = SignedDuration::from_secs(seconds);
        NewRequest {
            id: id(number),
            accepted_at: request(1).accepted_at + passed,
            forget_before: request(1).forget_before + passed,
            ..request(1)
        }
    };
    const WEEK: i64 = 7 * 24 * 3600;

    let duplicate = test.store.accept(again(WEEK, 2)).await.unwrap();
    assert_eq!(duplicate, Accepted::Duplicate(id(1)));
    let first = Some(id(1).to_string());
    assert_eq!(
        test.events().await,
        [(Event::Accepted, first.clone()), (Event::Duplicate, first)]
    );
    assert_eq!(
        test.store.accept(again(WEEK + 1, 3)).await.unwrap(),
        Accepted::New
    );
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 2);
}

#[tokio::test]
async fn a_clock_that_is_ahead_has_no_message_forgotten() {
    let test = TestStore::new().await;
    let clock = |number: u8, days: i64| NewRequest {
        accepted_at: at(0) + SignedDuration::from_hours(24 * days),
        // As the record of such a clock has it.
        forget_before: at(0) - NewRequest::IDENTITY_KEPT,
        ..request(number)
    };
    test.store.accept(clock(1, 0)).await.unwrap();
    test.store.accept(clock(2, 8)).await.unwrap();
    for days in [8, 0] {
        let again = NewRequest {
            id: id(3),
            ..clock(1, days)
        };
        let known = test.store.accept(again).await.unwrap();
        assert_eq!(known, Accepted::Duplicate(id(1)));
    }
}

#[tokio::test]
async fn a_strangers_copy_is_not_the_senders_own_message() {
    let test = TestStore::new().await;
    let copy = |number: u8, trust| NewRequest {
        id: id(number),
        trust,
        ..request(1)
    };
    let accept = async |copy| test.store.accept(copy).await.unwrap();
    assert_eq!(accept(copy(1, Trust::Stranger)).await, Accepted::New);
    assert_eq!(accept(copy(2, Trust::Verified)).await, Accepted::New);
    let known = Accepted::Duplicate(id(2));
    assert_eq!(accept(copy(3, Trust::Verified)).await, known);
    assert_eq!(accept(copy(4, Trust::Stranger)).await, known);
}

#[tokio::test]
async fn identities_older_than_that_are_forgotten() {
    let test = TestStore::new().await;
    for number in 1..=50 {
        test.store.accept(request(number)).await.unwrap();
    }
    let late = NewRequest {
        accepted_at: at(45) + NewRequest::IDENTITY_KEPT,
        forget_before: at(45),
        ..request(51)
    };
    test.store.accept(late).await.unwrap();
    let kept: i64 = test.scalar("SELECT count(*) FROM identities").await;
    assert_eq!(
        kept, 7,
        "those accepted from second 45 on, and the late one"
    );
}

#[tokio::test]
async fn a_duplicate_is_known_after_the_request_was_completed() {
    let test = TestStore::new().await;
    test.store.accept(request(1)).await.unwrap();
    let leased = test.lease(at(1)).await.unwrap();
    test.store
        .complete(&leased.token, completion(at(2), &["a@b.example"]))
        .await
        .unwrap();

    let again = NewRequest {
        id: id(2),
        ..request(1)
    };
    assert_eq!(
        test.store.accept(again).await.unwrap(),
        Accepted::Duplicate(id(1))
    );
}

#[tokio::test]
async fn a_message_without_identity_is_never_a_duplicate() {
    let test = TestStore::new().await;
    for number in [1, 2] {
        let request = NewRequest {
            identity: None,
            ..request(number)
        };
        assert_eq!(test.store.accept(request).await.unwrap(), Accepted::New);
    }
}

#[tokio::test]
async fn a_full_spool_takes_requests_again_when_there_is_room() {
    let test = TestStore::with(|settings| settings.max_requests = 2).await;
    test.store.accept(request(1)).await.unwrap();
    test.store.accept(request(2)).await.unwrap();
    let refused = test.store.accept(request(3)).await;
    assert!(matches!(
        refused,
        Err(StoreError::Full {
            requests: 2,
            max_requests: 2,
            ..
        })
    ));
    let duplicate = test
        .store
        .accept(NewRequest {
            id: id(4),
            ..request(2)
        })
        .await
        .unwrap();
    assert_eq!(duplicate, Accepted::Duplicate(id(2)));

    // A reply takes the place of its request until it is delivered.
    let leased = test.lease(at(9)).await.unwrap();
    test.store
        .complete(&leased.token, completion(at(9), &["a@b.example"]))
        .await
        .unwrap();
    assert!(matches!(
        test.store.accept(request(3)).await,
        Err(StoreError::Full { .. })
    ));
    let delivery = test.lease_delivery(at(9)).await.unwrap();
    test.store
        .delivered(&delivery, at(9), "250 ok")
        .await
        .unwrap();
    assert_eq!(test.store.accept(request(3)).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let size = request(1).message.len() as u64;
    let test = TestStore::with(|settings| settings.max_bytes = 2 * size - 1).await;
    test.store.accept(request(1)).await.unwrap();
    let refused = test.store.accept(request(2)).await;
    assert!(matches!(refused, Err(StoreError::Full { bytes, .. }) if bytes == size));
    assert_eq!(test.store.spool_usage().await.unwrap().bytes, size);
}
