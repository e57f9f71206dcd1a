//! Allowances in the store: who is taken, put off, notified, refused and blocked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::super::buckets::KEPT;
use super::super::testing::{address, forger, from, jane, unknown};
use super::*;
use crate::policy::Sender;
use crate::request_id::RequestId;
use crate::store::testing::{TestStore, at, completion, id, order};
use crate::store::{Accepted, NewRequest, StoreError};

/// Completes the request that is due next; gives its id.
async fn complete_next(test: &TestStore, second: i64) -> RequestId {
    let leased = test.lease(at(second)).await.unwrap();
    let done = completion(at(second), &[]);
    test.store.complete(&leased.token, done).await.unwrap();
    leased.id
}

fn later(until: i64, notice: Option<NoticeCode>) -> Accepted {
    let until = at(until);
    Accepted::Deferred { until, notice }
}

#[tokio::test]
async fn a_flood_is_deferred_then_blocked_with_one_notice_each() {
    let test = TestStore::new().await;
    let mut accepted = Vec::new();
    for number in 0..6 {
        let request = NewRequest {
            accepted_at: at(0),
            ..jane(number)
        };
        accepted.push(test.store.accept(request).await.unwrap());
    }
    let expected = [
        Accepted::New,
        later(60, Some(NoticeCode::Deferred)),
        later(120, None),
        later(3600, Some(NoticeCode::Blocked)),
        Accepted::Blocked { until: at(3600) },
        Accepted::Blocked { until: at(3600) },
    ];
    assert_eq!(accepted, expected);
    let usage = test.store.spool_usage().await.unwrap();
    assert_eq!((usage.requests, usage.replies), (4, 2));

    for code in [NoticeCode::Deferred, NoticeCode::Blocked] {
        let delivery = test.lease_delivery(at(0)).await.unwrap();
        let until = at(if code == NoticeCode::Deferred {
            60
        } else {
            3600
        });
        let message = String::from_utf8(delivery.message.clone()).unwrap();
        let until = until.strftime("%Y%m%dT%H%M%SZ").to_string();
        for part in [format!(": Notice\t{code}\t"), format!("\t{until}\r\n")] {
            assert!(message.contains(&part), "{message}");
        }
        test.store
            .delivered(&delivery, at(0), "250 ok")
            .await
            .unwrap();
    }
    for (number, due) in [(0, 0), (1, 60), (2, 120), (3, 3600)] {
        assert!(number == 0 || test.lease(at(due - 1)).await.is_none());
        assert_eq!(complete_next(&test, due).await, id(number));
    }
    let after = NewRequest {
        accepted_at: at(3600),
        ..jane(5)
    };
    assert_eq!(test.store.accept(after).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn the_audit_says_what_the_throttle_did() {
    let test = TestStore::new().await;
    for number in 0..5 {
        let request = NewRequest {
            accepted_at: at(0),
            ..jane(number)
        };
        test.store.accept(request).await.unwrap();
    }
    let entries = test.store.audit_entries(1, 9).await.unwrap();
    let entries: Vec<Entry> = entries
        .iter()
        .map(|stored| stored.entry().unwrap())
        .collect();
    let said: Vec<_> = entries
        .iter()
        .map(|entry| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            (
                entry.event,
                text(&entry.rule),
                text(&entry.verdict),
                text(&entry.code),
            )
        })
        .collect();
    let expected = [
        (Event::Accepted, "", "", ""),
        (Event::Accepted, "flood", "defer", "Deferred"),
        (Event::Accepted, "flood", "defer", ""),
        (Event::Accepted, "blocked", "defer", "Blocked"),
        (Event::Judged, "blocked", "ignore", ""),
    ]
    .map(|(event, rule, verdict, code)| {
        (event, rule.to_owned(), verdict.to_owned(), code.to_owned())
    });
    assert_eq!(said, expected);
    let reason = entries[4].reason.as_deref().unwrap();
    assert!(
        reason.contains("authenticated jane@vendor.example"),
        "{reason}"
    );
}

#[tokio::test]
async fn mail_of_a_blocked_sender_is_counted() {
    let test = TestStore::new().await;
    for number in 0..100 {
        let request = NewRequest {
            accepted_at: at(0),
            audit: Entry::new(at(0), Event::Judged),
            client: Some([192, 0, 2, 1].into()),
            ..jane(number)
        };
        test.store.accept(request).await.unwrap();
    }
    assert_eq!(test.events().await.len(), 5, "four requests, one blocked");
    test.store.settle_counts(at(60)).await.unwrap();
    let counted = test.last_entry().await;
    assert_eq!(counted.rule.as_deref(), Some("blocked"));
    assert_eq!(counted.count, Some(95));
    assert_eq!(counted.network.as_deref(), Some("192.0.2.0/24"));
    assert!(counted.reason.unwrap().contains("jane@vendor.example"));
}

#[tokio::test]
async fn a_duplicate_spends_nothing() {
    let test = TestStore::new().await;
    for _ in 0..9 {
        let request = NewRequest {
            accepted_at: at(0),
            ..jane(1)
        };
        test.store.accept(request).await.unwrap();
    }
    let next = NewRequest {
        accepted_at: at(0),
        ..jane(2)
    };
    let accepted = test.store.accept(next).await.unwrap();
    assert_eq!(accepted, later(60, Some(NoticeCode::Deferred)));
}

#[tokio::test]
async fn what_was_not_taken_may_come_again() {
    let test = TestStore::new().await;
    for number in 0..5 {
        test.store.accept(jane(number)).await.unwrap();
    }
    let again = NewRequest {
        accepted_at: at(4000),
        ..jane(4)
    };
    assert_eq!(test.store.accept(again).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn a_flood_leaves_others_alone() {
    let test = TestStore::new().await;
    let forged = unknown("bob@vendor.example");
    for number in 0..50 {
        let mut request = from(&forged, "bob@vendor.example", number);
        request.charges.notices.clear();
        test.store.accept(request).await.unwrap();
    }
    let bob = Sender::Authenticated(address("bob@vendor.example"));
    let module = Sender::Module("SMID.1:…".to_owned());
    for (number, sender) in [(50, bob), (51, module)] {
        let request = from(&sender, "bob@vendor.example", number);
        assert_eq!(test.store.accept(request).await.unwrap(), Accepted::New);
    }
    let due: Vec<_> = std::iter::from_fn(|| Some(())).take(3).collect();
    let mut ids = Vec::new();
    for () in due {
        ids.extend(test.lease(at(51)).await.map(|leased| leased.id));
    }
    assert_eq!(ids, [id(50), id(51), id(0)]);
}

#[tokio::test]
async fn many_senders_of_one_network_share_a_larger_allowance() {
    let test = TestStore::new().await;
    let mut deferred = 0;
    for number in 0..6 {
        let target = format!("a{number}@vendor.example");
        let mut request = from(&unknown(&target), &target, number);
        request.charges.newcomers = None;
        request.charges.notices.clear();
        request.accepted_at = at(0);
        match test.store.accept(request).await.unwrap() {
            Accepted::New => (),
            other => {
                deferred += 1;
                let notified = Some(NoticeCode::Deferred);
                assert_eq!(other, later(15 * deferred, notified));
            }
        }
    }
    assert_eq!(deferred, 2);
}

/// A request by an address, which only the newcomers' allowance limits.
async fn newcomer(test: &TestStore, number: u8, target: &str, seconds: i64) -> Accepted {
    let mut request = from(&unknown(target), target, number);
    request.charges.sender = None;
    request.charges.shared.clear();
    request.charges.notices.clear();
    if let Some(newcomers) = &mut request.charges.newcomers {
        newcomers.pools.truncate(1);
    }
    request.accepted_at = at(seconds);
    test.store.accept(request).await.unwrap()
}

#[tokio::test]
async fn newcomers_share_an_allowance_that_each_spends_once() {
    let test = TestStore::new().await;
    let ask = |number, target, seconds| newcomer(&test, number, target, seconds);
    assert_eq!(ask(0, "a@b.example", 0).await, Accepted::New);
    assert_eq!(ask(1, "A@b.example", 0).await, Accepted::New);
    assert_eq!(ask(2, "b@b.example", 0).await, Accepted::New);
    let notified = later(10, Some(NoticeCode::Deferred));
    assert_eq!(ask(3, "c@b.example", 0).await, notified);
    assert_eq!(
        ask(4, "c@b.example", 0).await,
        later(10, None),
        "as new as before, and notified"
    );
    assert_eq!(ask(5, "a@b.example", 0).await, Accepted::New);
    assert_eq!(ask(6, "c@b.example", 10).await, Accepted::New);
}

#[tokio::test]
async fn a_clock_set_back_prolongs_no_block() {
    let test = TestStore::new().await;
    let ask = async |number: u8, seconds: i64| {
        let request = NewRequest {
            accepted_at: at(seconds),
            ..jane(number)
        };
        test.store.accept(request).await.unwrap()
    };
    for number in 0..4 {
        ask(number, 7200).await;
    }
    let until = |seconds| Accepted::Blocked { until: at(seconds) };
    assert_eq!(ask(4, 7800).await, until(10_800));
    assert_eq!(ask(5, 600).await, until(4200));
    assert_eq!(ask(6, 4199).await, until(4200));
    assert_eq!(ask(7, 4200).await, Accepted::New);
}

#[tokio::test]
async fn a_clock_set_back_makes_no_newcomer_of_who_is_known() {
    let test = TestStore::new().await;
    let ask = |number, target, seconds| newcomer(&test, number, target, seconds);
    assert_eq!(ask(0, "a@b.example", 9000).await, Accepted::New);
    assert_eq!(ask(1, "a@b.example", 5400).await, Accepted::New);
    assert_eq!(ask(2, "b@b.example", 5400).await, Accepted::New);
    // A sender whose turn has not come waits as long as before, and no longer.
    let notified = Some(NoticeCode::Deferred);
    assert_eq!(ask(3, "c@b.example", 5400).await, later(5410, notified));
    assert_eq!(ask(4, "d@b.example", 5400).await, later(5420, notified));
    assert_eq!(ask(5, "d@b.example", 1800).await, later(1820, None));
    assert_eq!(ask(6, "d@b.example", 1820).await, Accepted::New);
}

#[tokio::test]
async fn blocks_survive_a_crash() {
    let test = TestStore::new().await;
    for number in 0..5 {
        test.store.accept(jane(number)).await.unwrap();
    }
    let test = test.after_crash().await;
    let accepted = test.store.accept(jane(6)).await.unwrap();
    assert!(matches!(accepted, Accepted::Blocked { .. }), "{accepted:?}");
}

#[tokio::test]
async fn an_operator_ends_a_block_and_what_waits_is_done() {
    let test = TestStore::new().await;
    for number in 0..5 {
        let request = NewRequest {
            accepted_at: at(0),
            ..jane(number)
        };
        test.store.accept(request).await.unwrap();
    }
    let senders = test.store.throttled_senders(at(1)).await.unwrap();
    assert_eq!(senders.len(), 1);
    assert_eq!(senders[0].key, "authenticated jane@vendor.example");
    assert_eq!(senders[0].bucket.blocked_until(), Some(at(3600)));

    assert!(
        !test
            .store
            .unblock("address x@y.example", order(1))
            .await
            .unwrap()
    );
    let unblocked = test.store.unblock(&senders[0].key, order(1));
    assert!(unblocked.await.unwrap());
    let entry = test.last_entry().await;
    assert_eq!(entry.event, Event::SenderUnblocked);
    assert_eq!(entry.operator, Some(order(1).operator));
    assert!(
        test.store
            .throttled_senders(at(1))
            .await
            .unwrap()
            .is_empty()
    );
    for number in 0..4 {
        assert_eq!(complete_next(&test, 1).await, id(number));
    }
    let next = NewRequest {
        accepted_at: at(1),
        ..jane(9)
    };
    assert_eq!(test.store.accept(next).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn only_so_many_buckets_are_kept_and_those_seen_last() {
    let test = TestStore::new().await;
    let charged = test.store.change(|changes| {
        let regular = unknown("regular@b.example");
        let mut charge_to = |sender: &Sender, target: &str| {
            let mut request = from(sender, target, 0);
            request.charges.shared.clear();
            request.charges.newcomers = None;
            request.charges.notices.clear();
            let nobody = Acquaintance::default();
            let (_, buckets) = charge(request.charged(), &nobody, changes.connection)?;
            Ok::<_, Failure>(buckets.keep(20, changes.connection)?)
        };
        for number in 0..200 {
            let target = format!("a{number}@b.example");
            charge_to(&unknown(&target), &target)?;
            charge_to(&regular, "regular@b.example")?;
        }
        Ok(())
    });
    charged.await.unwrap();
    let kept: i64 = test.scalar("SELECT count(*) FROM throttle").await;
    assert!(kept <= 20, "{kept}");
    let key = "address regular@b.example from 192.0.2.0/24";
    let senders = test.store.throttled_senders(at(0)).await.unwrap();
    let regular = senders.iter().find(|sender| sender.key == key).unwrap();
    assert!(!regular.bucket.is_idle());
}

/// A flood of forged addresses leaves these rows, written at once.
#[tokio::test]
async fn the_bounds_hold_at_their_full_size_and_who_asks_then_is_served() {
    let test = TestStore::new().await;
    test.execute(
        "WITH RECURSIVE numbers (n) AS
             (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 60000)
         INSERT INTO throttle (sequence, key, seen, backlog, deferring)
         SELECT n, 'address ' || n, 0, 1, 0 FROM numbers",
    )
    .await;
    let regular = unknown("regular@b.example");
    let request = from(&regular, "regular@b.example", 1);
    assert_eq!(test.store.accept(request).await.unwrap(), Accepted::New);
    let kept: i64 = test.scalar("SELECT count(*) FROM throttle").await;
    assert_eq!(kept, KEPT);
}

/// Accepts a request of this sender and says why if it is not taken.
async fn ask(test: &TestStore, sender: &Sender, target: &str, number: u8) -> String {
    let request = NewRequest {
        accepted_at: at(0),
        ..from(sender, target, number)
    };
    match test.store.accept(request).await {
        Ok(Accepted::New) => "taken".to_owned(),
        Ok(accepted) => format!("{accepted:?}"),
        Err(StoreError::Crowded { reason }) => reason,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn one_target_is_answered_so_often_from_whatever_networks_and_told_once() {
    let test = TestStore::new().await;
    let victim = "victim@b.example";
    let mut answers = Vec::new();
    for number in 0..7 {
        answers.push(ask(&test, &forger(victim, number), victim, number).await);
    }
    assert_eq!(answers[..2], ["taken", "taken"]);
    assert!(answers[2].contains("Some(Deferred)"), "{answers:?}");
    assert!(answers[3].contains("notice: None"), "{answers:?}");
    for refused in &answers[4..] {
        assert_eq!(refused, "target victim@b.example is far over its allowance");
    }
    let usage = test.store.spool_usage().await.unwrap();
    assert_eq!((usage.requests, usage.replies), (4, 1));
    // Answers to strangers at this address hold up no module.
    let module = Sender::Module("SMID.1:…".to_owned());
    assert_eq!(ask(&test, &module, victim, 9).await, "taken");
}

#[tokio::test]
async fn one_network_leaves_half_of_the_newcomers_to_others() {
    let test = TestStore::new().await;
    let mut answers = Vec::new();
    for number in 0..4 {
        let target = format!("new{number}@b.example");
        answers.push(ask(&test, &unknown(&target), &target, number).await);
    }
    assert_eq!(answers[0], "taken");
    for refused in &answers[1..] {
        let expected = "newcomers from 192.0.2.0/24 is far over its allowance";
        assert_eq!(refused, expected);
    }
    let other = "elsewhere@b.example";
    assert_eq!(ask(&test, &forger(other, 1), other, 9).await, "taken");
}

#[tokio::test]
async fn who_can_t_be_told_is_not_taken_and_nothing_is_spent() {
    let test = TestStore::new().await;
    let mut answers = Vec::new();
    for number in 0..7 {
        let target = format!("new{number}@b.example");
        answers.push(ask(&test, &forger(&target, number), &target, number).await);
    }
    // Two newcomers at once, and two notices.
    assert_eq!(answers[..2], ["taken", "taken"]);
    for notified in &answers[2..4] {
        assert!(notified.contains("Some(Deferred)"), "{answers:?}");
    }
    for refused in &answers[4..] {
        assert!(refused.contains("have no room to say so"), "{answers:?}");
    }
    let spent = async || test.store.throttled_senders(at(0)).await.unwrap();
    let before = spent().await;
    ask(&test, &forger("late@b.example", 8), "late@b.example", 8).await;
    assert_eq!(spent().await, before);
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 4);
}

#[tokio::test]
async fn a_request_that_waits_needs_room_for_its_notice_too() {
    let test = TestStore::with(|settings| settings.max_requests = 2).await;
    let at_once = |number| NewRequest {
        accepted_at: at(0),
        ..jane(number)
    };
    assert_eq!(test.store.accept(at_once(0)).await.unwrap(), Accepted::New);
    let refused = test.store.accept(at_once(1)).await;
    assert!(
        matches!(refused, Err(StoreError::Full { .. })),
        "{refused:?}"
    );
    let usage = test.store.spool_usage().await.unwrap();
    assert_eq!((usage.requests, usage.replies), (1, 0));
}
