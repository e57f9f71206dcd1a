//! Orders to drop, beside workers that don't know of them.
#![allow(clippy::unwrap_used)]

use jiff::SignedDuration;

use super::*;
use crate::mail::NoticeCode;
use crate::store::testing::{HOLD, TestStore, at, completion, id, notice, order, reply, request};
use crate::store::{Accepted, Completed, NewRequest, Postponement, SpoolUsage};

async fn drop_all(test: &TestStore, number: u8, target: Option<&str>) -> Dropped {
    let what = ToDrop {
        request_id: id(number),
        target: target.map(str::to_owned),
        reason: "asked by phone".to_owned(),
    };
    test.store.drop_request(what, order(50)).await.unwrap()
}

#[tokio::test]
async fn a_dropped_request_gets_no_result_from_whoever_has_it() {
    let test = TestStore::new().await;
    for number in [1, 2] {
        let request = NewRequest {
            sender: "one".to_owned(),
            ..request(number)
        };
        test.store.accept(request).await.unwrap();
    }
    let leased = test.lease(at(2)).await.unwrap();
    let done = Dropped::Done {
        was_unanswered: true,
        targets: Vec::new(),
    };
    assert_eq!(drop_all(&test, 1, None).await, done);
    let entry = test.last_entry().await;
    assert_eq!(entry.event, Event::Dropped);
    assert_eq!(entry.queue_id.as_deref(), Some("QUEUE1"));
    assert_eq!(entry.reason.as_deref(), Some("asked by phone"));
    assert_eq!(entry.operator.as_deref(), Some("jane (uid 1000)"));
    assert_eq!(entry.attempts, Some(1));

    let late = test
        .store
        .complete(&leased.token, completion(at(51), &["a@b.example"]))
        .await
        .unwrap();
    assert_eq!(late, Completed::LeaseLost);
    let postponed = test.store.postpone(&leased.token, at(51), at(60), "late");
    assert!(!postponed.await.unwrap());
    assert_eq!(drop_all(&test, 1, None).await, Dropped::NotQueued);
    // The one behind it has its turn, and the same message is known.
    assert_eq!(test.lease(at(52)).await.unwrap().id, id(2));
    let again = NewRequest {
        id: id(3),
        ..request(1)
    };
    let again = test.store.accept(again).await.unwrap();
    assert_eq!(again, Accepted::Duplicate(id(1)));
    assert_eq!(test.store.spool_usage().await.unwrap().replies, 0);
    assert!(test.store.verify_audit(None).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_reply_is_dropped_for_one_target_or_for_all_and_never_in_midst() {
    let test = TestStore::new().await;
    reply(&test, 1, &["a@b.example", "c@d.example"]).await;
    reply(&test, 2, &["a@b.example"]).await;
    let targets = vec!["a@b.example".to_owned(), "c@d.example".to_owned()];
    assert_eq!(
        drop_all(&test, 1, Some("x@y.example")).await,
        Dropped::NoSuchTarget { targets }
    );
    let leased = test.lease_delivery(at(49)).await.unwrap();
    let in_work = Dropped::InWork {
        target: "a@b.example".to_owned(),
        until: at(49) + HOLD,
    };
    assert_eq!(drop_all(&test, 1, Some("a@b.example")).await, in_work);
    assert_eq!(drop_all(&test, 1, None).await, in_work);
    assert_eq!(test.store.queue(at(50)).await.unwrap().len(), 3);

    let done = |target: &str| Dropped::Done {
        was_unanswered: false,
        targets: vec![target.to_owned()],
    };
    assert_eq!(
        drop_all(&test, 1, Some("c@d.example")).await,
        done("c@d.example")
    );
    assert_eq!(
        test.last_entry().await.target.as_deref(),
        Some("c@d.example")
    );
    let put_off = Postponement::plain(at(49), at(900), "451");
    let put_off = test.store.postpone_delivery(&leased.token, put_off);
    assert!(put_off.await.unwrap().is_some());
    assert_eq!(drop_all(&test, 1, None).await, done("a@b.example"));
    assert_eq!(drop_all(&test, 1, None).await, Dropped::NotQueued);
    // The reply behind it has its turn.
    let next = test.lease_delivery(at(50)).await.unwrap();
    assert_eq!(next.request_id, id(2));
    assert!(test.store.delivered(&next, at(51), "250").await.unwrap());
    assert_eq!(
        test.store.spool_usage().await.unwrap(),
        SpoolUsage::default()
    );
}

#[tokio::test]
async fn a_notice_goes_with_its_request() {
    let test = TestStore::new().await;
    test.store.accept(request(1)).await.unwrap();
    let notice = notice(NoticeCode::Deferred, at(9));
    assert!(test.store.notify(id(1), at(2), notice).await.unwrap());
    let only_notice = drop_all(&test, 1, Some("x@y.example")).await;
    assert!(matches!(only_notice, Dropped::NoSuchTarget { .. }));
    let done = Dropped::Done {
        was_unanswered: true,
        targets: vec!["a@b.example".to_owned()],
    };
    assert_eq!(drop_all(&test, 1, None).await, done);
    assert_eq!(
        test.store.spool_usage().await.unwrap(),
        SpoolUsage::default()
    );
    let later = at(50) + SignedDuration::from_hours(1);
    assert!(test.store.queue(later).await.unwrap().is_empty());
}
