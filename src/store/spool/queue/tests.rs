//! The queue as an operator sees it, and orders, beside workers that don't know of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::ops::RangeInclusive;

use jiff::SignedDuration;

use super::*;
use crate::audit::Event;
use crate::policy::throttle::{Allowance, Excess};
use crate::policy::{Charge, Charges, RuleName, ThrottleKey};
use crate::request_id::RequestId;
use crate::store::testing::{HOLD, TestStore, at, id, order, reply, request};
use crate::store::{LeasedDelivery, LeasedRequest, NewRequest, Postponement};

async fn states(test: &TestStore, second: i64) -> Vec<(RequestId, QueueState)> {
    let queue = test.store.queue(at(second)).await.unwrap();
    let state = |queued: Queued| (queued.request_id, queued.state);
    queue.into_iter().map(state).collect()
}

async fn put_off(test: &TestStore, leased: &LeasedRequest, from: i64, to: i64, why: &str) {
    let postponed = test.store.postpone(&leased.token, at(from), at(to), why);
    assert!(postponed.await.unwrap());
}

async fn put_off_reply(test: &TestStore, leased: &LeasedDelivery, from: i64, to: i64) {
    let put_off = test
        .store
        .postpone_delivery(&leased.token, Postponement::plain(at(from), at(to), "451"));
    assert!(put_off.await.unwrap().is_some());
}

/// The order to try request `number` again, but not before its turn.
fn of(number: u8) -> ToRetry {
    ToRetry {
        request: Some(id(number)),
        throttled: false,
    }
}

/// Requests that share an allowance: the first is done at once, and each of the
/// others 100 s after the one before.
async fn throttled(test: &TestStore, numbers: RangeInclusive<u8>) {
    for number in numbers {
        let allowance = Allowance {
            at_once: 1,
            every: SignedDuration::from_secs(100),
            excess: Excess::Defer,
        };
        let charge = Charge {
            key: ThrottleKey::Module("M".to_owned()),
            allowance,
        };
        let request = NewRequest {
            accepted_at: at(0),
            charges: Charges {
                sender: Some(charge),
                ..Charges::default()
            },
            ..request(number)
        };
        test.store.accept(request).await.unwrap();
    }
}

/// The numbers of the requests that are selected.
async fn selected(test: &TestStore, selection: Selection) -> Vec<u8> {
    let selected = test.store.selected(&selection, at(50)).await.unwrap();
    let number = |selected: Selected| selected.request_id.as_bytes()[0];
    selected.into_iter().map(number).collect()
}

#[tokio::test]
async fn what_is_in_work_names_the_gateway_that_has_it() {
    let test = TestStore::with(|settings| settings.node = "mx1".to_owned()).await;
    reply(&test, 1, &["a@b.example"]).await;
    test.store.accept(request(2)).await.unwrap();
    let holders = async |second| {
        let queue = test.store.queue(at(second)).await.unwrap();
        let nodes = queue.into_iter().map(|queued| queued.node);
        nodes.collect::<Vec<_>>()
    };
    assert_eq!(holders(2).await, [None, None]);
    let delivery = test.lease_delivery(at(2)).await.unwrap();
    let request = test.lease(at(2)).await.unwrap();
    let mx1 = || Some("mx1".to_owned());
    assert_eq!(holders(3).await, [mx1(), mx1()]);
    put_off(&test, &request, 4, 60, "KMS away").await;
    put_off_reply(&test, &delivery, 4, 60).await;
    assert_eq!(holders(5).await, [None, None]);
}

#[tokio::test]
async fn each_state_of_a_request_is_told_from_the_others() {
    let test = TestStore::new().await;
    for number in [1, 2] {
        let request = NewRequest {
            sender: "one".to_owned(),
            ..request(number)
        };
        test.store.accept(request).await.unwrap();
    }
    let behind = (id(2), QueueState::Behind { request_id: id(1) });
    assert_eq!(states(&test, 2).await, [(id(1), QueueState::Due), behind]);

    let leased = test.lease(at(2)).await.unwrap();
    let until = at(2) + HOLD;
    let in_work = (id(1), QueueState::InWork { until });
    assert_eq!(states(&test, 3).await, [in_work, behind]);
    put_off(&test, &leased, 4, 60, "KMS away").await;
    let put = (id(1), QueueState::PutOff { until: at(60) });
    assert_eq!(states(&test, 5).await, [put, behind]);
    // The second attempt is a lease again, though the first had a trouble.
    let again = test.lease(at(60)).await.unwrap();
    let until = at(60) + HOLD;
    let in_work = (id(1), QueueState::InWork { until });
    assert_eq!(states(&test, 61).await, [in_work, behind]);
    put_off(&test, &again, 61, 99, "KMS slow").await;

    let queued = test.store.queue(at(62)).await.unwrap().remove(0);
    assert_eq!((queued.attempts, queued.queue_id.as_str()), (2, "QUEUE1"));
    assert_eq!(queued.last_trouble.unwrap().text, "KMS slow");
    assert_eq!(queued.header, b"Subject: {KMS:Help} 1\r\n");
    let story = test.store.request_story(id(1), at(62)).await.unwrap();
    let troubles = &story.waiting[0].troubles;
    let seen: Vec<_> = troubles
        .iter()
        .map(|trouble| (trouble.attempt, trouble.at, trouble.text.as_str()))
        .collect();
    assert_eq!(seen, [(1, at(4), "KMS away"), (2, at(61), "KMS slow")]);
    assert_eq!(story.message.unwrap().message, request(1).message);
}

#[tokio::test]
async fn a_lease_that_is_over_or_a_clock_set_back_holds_nothing() {
    let test = TestStore::new().await;
    test.store.accept(request(1)).await.unwrap();
    test.lease(at(9000)).await.unwrap();
    let after = 9000 + HOLD.as_secs();
    assert_eq!(states(&test, after).await, [(id(1), QueueState::Due)]);
    assert_eq!(states(&test, 5).await, [(id(1), QueueState::Due)]);
}

#[tokio::test]
async fn each_target_of_a_reply_waits_by_itself() {
    let test = TestStore::new().await;
    reply(&test, 1, &["a@b.example", "c@d.example"]).await;
    reply(&test, 2, &["a@b.example"]).await;
    let leased = test.lease_delivery(at(3)).await.unwrap();
    put_off_reply(&test, &leased, 4, 60).await;
    let queue = test.store.queue(at(5)).await.unwrap();
    let seen: Vec<_> = queue
        .iter()
        .map(|queued| (queued.what.clone(), queued.state))
        .collect();
    let reply = |target: &str| Waits::Reply {
        target: target.to_owned(),
    };
    assert_eq!(
        seen,
        [
            (reply("a@b.example"), QueueState::PutOff { until: at(60) }),
            (reply("c@d.example"), QueueState::Due),
            (
                reply("a@b.example"),
                QueueState::Behind { request_id: id(1) }
            ),
        ]
    );
    assert_eq!(queue[0].header, b"Subject: Auto: {KMS:Help}\r\n");
}

#[tokio::test]
async fn no_more_than_the_latest_troubles_are_kept() {
    let test = TestStore::new().await;
    test.store.accept(request(1)).await.unwrap();
    for attempt in 1..=30 {
        let leased = test.lease(at(10 * attempt)).await.unwrap();
        put_off(&test, &leased, 10 * attempt, 10 * attempt + 9, "away").await;
    }
    let story = test.store.request_story(id(1), at(301)).await.unwrap();
    let troubles = &story.waiting[0].troubles;
    assert_eq!((troubles.len(), troubles[0].attempt), (20, 11));
    // They go with their request.
    let what = ToDrop {
        request_id: id(1),
        target: None,
        reason: "asked by phone".to_owned(),
    };
    let dropped = test.store.drop_request(what, order(302)).await.unwrap();
    assert!(matches!(dropped, Dropped::Done { .. }));
    assert_eq!(test.execute("DELETE FROM request_troubles").await, 0);
}

#[tokio::test]
async fn a_request_is_found_by_each_of_its_names_even_when_it_is_finished() {
    let test = TestStore::new().await;
    reply(&test, 0x12, &[]).await;
    test.store.accept(request(0x13)).await.unwrap();
    let named = async |name: &str| test.store.requests_named(name).await.unwrap();
    let (done, waits) = (id(0x12), id(0x13));
    assert_eq!(named("QUEUE18").await, [done], "finished: the log knows");
    assert_eq!(named(&done.to_string()).await, [done]);
    assert_eq!(named("1212").await, [done]);
    assert_eq!(named("QUEUE19").await, [waits]);
    assert_eq!(named("131").await, [waits]);
    assert_eq!(named("1").await, [done, waits]);
    // A part of a queue id is no name.
    for nobody in ["", "QUEUE1", "queue18", "14", "%", "\"", "1212\"x"] {
        assert!(named(nobody).await.is_empty(), "{nobody:?}");
    }

    let story = test.store.request_story(done, at(99)).await.unwrap();
    let events: Vec<_> = story
        .entries
        .iter()
        .map(|stored| stored.entry().unwrap().event)
        .collect();
    assert_eq!(events, [Event::Accepted, Event::Completed]);
    assert!(story.waiting.is_empty() && story.message.is_none());
}

#[tokio::test]
async fn a_retry_ends_waits_and_no_lease() {
    let test = TestStore::new().await;
    for number in [1, 2, 3] {
        test.store.accept(request(number)).await.unwrap();
    }
    for number in [1, 2] {
        let leased = test.lease(at(4)).await.unwrap();
        assert_eq!(leased.id, id(number));
        put_off(&test, &leased, 5, 900, "KMS away").await;
    }
    test.lease(at(4)).await.unwrap();
    let retry = async |what| test.store.retry(what, order(6)).await.unwrap();
    let ended = |requests, replies| WaitsEnded {
        requests,
        replies,
        throttled: 0,
        port: false,
    };
    assert_eq!(retry(of(1)).await, ended(1, 0));
    let entry = test.last_entry().await;
    assert_eq!(entry.event, Event::Retried);
    assert_eq!(entry.request_id, Some(id(1).to_string()));
    assert_eq!(entry.operator.as_deref(), Some("jane (uid 1000)"));
    assert_eq!(retry(of(3)).await, ended(0, 0), "leased");
    assert_eq!(retry(ToRetry::default()).await, ended(1, 0));
    assert_eq!(test.last_entry().await.count, Some(1));
    assert_eq!(retry(ToRetry::default()).await, ended(0, 0));
    assert_eq!(test.lease(at(6)).await.unwrap().id, id(1));
    assert_eq!(test.lease(at(6)).await.unwrap().id, id(2));
    assert!(test.lease(at(6)).await.is_none());
    let retried = test.events().await;
    let retried = retried.iter().filter(|(event, _)| *event == Event::Retried);
    assert_eq!(retried.count(), 2, "what changed nothing is not audited");
}

#[tokio::test]
async fn a_retry_ends_the_waits_of_replies_too() {
    let test = TestStore::new().await;
    reply(&test, 1, &["a@b.example", "c@d.example"]).await;
    for _ in 0..2 {
        let leased = test.lease_delivery(at(3)).await.unwrap();
        put_off_reply(&test, &leased, 4, 900).await;
    }
    let ended = test.store.retry(of(1), order(6)).await.unwrap();
    assert_eq!((ended.requests, ended.replies), (0, 2));
    assert_eq!(test.lease_delivery(at(6)).await.unwrap().attempts, 2);
}

#[tokio::test]
async fn a_retry_leaves_waits_for_an_allowance_alone_unless_they_are_meant() {
    let test = TestStore::new().await;
    throttled(&test, 1..=3).await;
    let until = |second| QueueState::Throttled { until: at(second) };
    let queue = states(&test, 6).await;
    for waits in [(id(2), until(100)), (id(3), until(200))] {
        assert!(queue.contains(&waits), "{queue:?}");
    }
    let retry = async |what| test.store.retry(what, order(6)).await.unwrap();
    let left = |throttled| WaitsEnded {
        throttled,
        ..WaitsEnded::default()
    };
    assert_eq!(retry(ToRetry::default()).await, left(2));
    assert_eq!(retry(of(2)).await, left(1));
    assert_ne!(test.last_entry().await.event, Event::Retried);
    assert_eq!(states(&test, 6).await, queue);

    let all = ToRetry {
        request: None,
        throttled: true,
    };
    let ended = retry(all).await;
    assert_eq!((ended.requests, ended.throttled), (2, 0));
    let entry = test.last_entry().await;
    assert_eq!((entry.event, entry.count), (Event::Retried, Some(2)));
    assert_eq!(entry.detail.as_deref(), Some("waits for an allowance too"));
    for number in 1..=3 {
        assert_eq!(test.lease(at(6)).await.unwrap().id, id(number));
    }
}

#[tokio::test]
async fn what_was_tried_waits_for_no_allowance_any_more() {
    let test = TestStore::new().await;
    throttled(&test, 1..=2).await;
    let of_due = test.lease(at(1)).await.unwrap();
    put_off(&test, &of_due, 2, 900, "KMS away").await;
    let late = test.lease(at(100)).await.unwrap();
    assert_eq!(late.id, id(2));
    put_off(&test, &late, 101, 900, "KMS away").await;
    let ended = test.store.retry(ToRetry::default(), order(102)).await;
    assert_eq!(ended.unwrap().requests, 2);
}

#[tokio::test]
async fn requests_are_selected_by_sender_client_and_rule() {
    let test = TestStore::new().await;
    reply(&test, 4, &["a@b.example", "c@d.example"]).await;
    throttled(&test, 1..=3).await;
    let nothing = Selection::default;
    let by_sender = |sender: &str| Selection {
        sender: Some(sender.to_owned()),
        ..nothing()
    };
    let by_client = |client: &str| Selection {
        client: Some(client.parse().unwrap()),
        ..nothing()
    };
    let by_rule = |rule| Selection {
        rule: Some(rule),
        ..nothing()
    };
    assert_eq!(selected(&test, nothing()).await, [1, 2, 3, 4]);
    for sender in ["sender2@vendor.example", "<Sender2@VENDOR.example>"] {
        assert_eq!(selected(&test, by_sender(sender)).await, [2], "{sender}");
    }
    assert_eq!(
        selected(&test, by_sender("sender4@vendor.example")).await,
        [4]
    );
    assert!(
        selected(&test, by_sender("2@vendor.example"))
            .await
            .is_empty()
    );
    assert_eq!(selected(&test, by_client("192.0.2.2/31")).await, [2, 3]);
    assert_eq!(
        selected(&test, by_client("192.0.2.0/24")).await,
        [1, 2, 3, 4]
    );
    assert!(selected(&test, by_client("2001:db8::/32")).await.is_empty());
    assert_eq!(selected(&test, by_rule(RuleName::FLOOD)).await, [2, 3]);
    assert!(selected(&test, by_rule(RuleName::BLOCKED)).await.is_empty());
    let both = Selection {
        client: Some("192.0.2.3/32".parse().unwrap()),
        ..by_rule(RuleName::FLOOD)
    };
    assert_eq!(selected(&test, both).await, [3]);

    let all = test.store.selected(&nothing(), at(50)).await.unwrap();
    let seen = |selected: &Selected| {
        let Selected {
            is_unanswered,
            is_throttled,
            replies,
            ..
        } = *selected;
        (is_unanswered, is_throttled, replies)
    };
    let seen: Vec<_> = all.iter().map(seen).collect();
    // The second one's notice, and the answer for two.
    let expected = [
        (true, false, 0),
        (true, true, 1),
        (true, true, 0),
        (false, false, 2),
    ];
    assert_eq!(seen, expected);
    assert_eq!(all[3].reverse_path, "sender4@vendor.example");
}

/// As `senders list` names it.
#[tokio::test]
async fn a_sender_is_selected_by_its_key_too() {
    let test = TestStore::new().await;
    let keyed = NewRequest {
        sender: "address jane@vendor.example from 192.0.2.0/24".to_owned(),
        ..request(1)
    };
    test.store.accept(keyed).await.unwrap();
    let by_key = |key: &str| Selection {
        sender: Some(key.to_owned()),
        ..Selection::default()
    };
    let key = "address Jane@vendor.example from 192.0.2.0/24";
    assert_eq!(selected(&test, by_key(key)).await, [1]);
    assert!(
        selected(&test, by_key("jane@vendor.example"))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn many_are_dropped_with_an_entry_each_and_what_is_handed_over_is_left() {
    let test = TestStore::new().await;
    for number in [4, 5] {
        reply(&test, number, &[&format!("r{number}@b.example")]).await;
    }
    throttled(&test, 1..=3).await;
    let notice = test.lease_delivery(at(6)).await.unwrap();
    assert_eq!(notice.request_id, id(2));
    assert!(test.store.delivered(&notice, at(6), "250").await.unwrap());
    let handed_over = test.lease_delivery(at(49)).await.unwrap();
    assert_eq!(handed_over.request_id, id(4));
    let order_all = async |only_throttled| {
        let what = ToDropAll {
            requests: (1..=6).map(id).collect(),
            only_throttled,
            reason: "a flood".to_owned(),
        };
        test.store.drop_all(what, order(50)).await.unwrap()
    };
    let throttled_alone = DroppedAll {
        requests: 2,
        replies: 0,
        in_work: 1,
        gone: 3,
    };
    assert_eq!(order_all(true).await, throttled_alone);
    let all = DroppedAll {
        requests: 1,
        replies: 1,
        in_work: 1,
        gone: 3,
    };
    assert_eq!(order_all(false).await, all);
    let entries = test.store.audit_entries(1, 99).await.unwrap();
    let entries = entries.iter().map(|stored| stored.entry().unwrap());
    let dropped: Vec<_> = entries
        .filter(|entry| entry.event == Event::Dropped)
        .map(|entry| (entry.request_id.unwrap(), entry.reason.unwrap()))
        .collect();
    let of = |number| (id(number).to_string(), "a flood".to_owned());
    assert_eq!(dropped, [of(2), of(3), of(1), of(5)]);
    // The reply in Postfix's hands is all that is left.
    assert_eq!(test.store.queue(at(51)).await.unwrap().len(), 1);
    assert!(test.store.verify_audit(None).await.unwrap().is_ok());
}
