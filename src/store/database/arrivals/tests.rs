//! Looks for work that wait, and what they are given.

#![allow(clippy::unwrap_used)]

use std::future::{pending, ready};

use tokio::sync::oneshot;

use crate::audit::{Entry, Event};
use crate::store::database::{Changes, Kind};
use crate::store::testing::{HOLD, TestStore, at, completion, id, request};
use crate::store::{Accepted, Idle, LeasedRequest, Leasing, Looked};

/// A look that found nothing.
async fn look(test: &TestStore) -> Idle {
    let found = test.store.lease(Leasing::alone(at(9), HOLD)).await.unwrap();
    let Looked::Nothing(since) = found else {
        unreachable!("{found:?}");
    };
    since
}

/// Waits for a request no longer than `until`.
async fn wait(
    test: &TestStore,
    since: Idle,
    until: impl Future<Output = ()>,
) -> Option<Looked<LeasedRequest>> {
    let terms = || Leasing::alone(at(9), HOLD);
    let found = test.store.lease_when_due(since, terms, until).await;
    found.unwrap()
}

#[tokio::test]
async fn what_falls_due_is_leased_in_the_same_commit() {
    let test = TestStore::new().await;
    let leased = test.lease_later(at(9)).await;
    let before = test.store.commits();
    test.store.accept(request(1)).await.unwrap();
    assert_eq!(leased.await.unwrap(), id(1));
    assert_eq!(test.store.commits() - before, 1);
    assert!(test.lease(at(9)).await.is_none());
}

#[tokio::test]
async fn each_piece_of_work_goes_to_one_look_and_the_others_wait() {
    let test = TestStore::new().await;
    let mut leased = Vec::new();
    for _ in 0..3 {
        leased.push(test.lease_later(at(9)).await);
    }
    test.store.accept(request(1)).await.unwrap();
    assert_eq!(
        leased.pop().unwrap().await.unwrap(),
        id(1),
        "the last to come"
    );
    assert_eq!(test.store.waiting_looks(), 2);
    test.store.accept(request(2)).await.unwrap();
    assert_eq!(leased.pop().unwrap().await.unwrap(), id(2));
    assert_eq!(test.store.waiting_looks(), 1);
}

#[tokio::test]
async fn a_request_that_gets_the_turn_is_leased_too() {
    let test = TestStore::new().await;
    for number in [1, 2] {
        let request = crate::store::NewRequest {
            sender: "one".to_owned(),
            ..request(number)
        };
        test.store.accept(request).await.unwrap();
    }
    let first = test.lease(at(9)).await.unwrap();
    let leased = test.lease_later(at(9)).await;
    let completion = completion(at(9), &[]);
    test.store.complete(&first.token, completion).await.unwrap();
    assert_eq!(leased.await.unwrap(), id(2));
}

#[tokio::test]
async fn what_arrives_between_a_look_and_the_wait_is_not_missed() {
    let test = TestStore::new().await;
    let since = look(&test).await;
    test.store.accept(request(1)).await.unwrap();
    assert!(wait(&test, since, pending()).await.is_none());
    assert_eq!(test.lease(at(9)).await.unwrap().id, id(1));
}

#[tokio::test]
async fn a_look_that_waits_no_longer_takes_nothing() {
    let test = TestStore::new().await;
    let since = look(&test).await;
    assert!(wait(&test, since, ready(())).await.is_none());
    assert_eq!(test.store.waiting_looks(), 0);
    test.store.accept(request(1)).await.unwrap();
    assert_eq!(test.lease(at(9)).await.unwrap().attempts, 1);
}

#[tokio::test]
async fn a_look_that_was_taken_is_answered_though_its_wait_is_over() {
    let test = TestStore::new().await;
    let since = look(&test).await;
    let (taken, is_taken) = oneshot::channel();
    let (release, is_released) = oneshot::channel::<()>();
    let mut signals = Some((taken, is_released));
    let look = move |_: &mut Changes<'_>| {
        if let Some((taken, is_released)) = signals.take() {
            taken.send(()).unwrap();
            is_released.blocking_recv().unwrap();
        }
        Ok(Looked::Work("taken"))
    };
    // The writer is at the look when the wait ends.
    let until = async {
        is_taken.await.unwrap();
        release.send(()).unwrap();
    };
    let waiting = test.store.look_when_due(Kind::Request, since, look, until);
    let accepting = async {
        while test.store.waiting_looks() == 0 {
            tokio::task::yield_now().await;
        }
        test.store.accept(request(1)).await.unwrap()
    };
    let (looked, accepted) = tokio::join!(waiting, accepting);
    assert_eq!(looked.unwrap().unwrap().work(), Some("taken"));
    assert_eq!(accepted, Accepted::New);
}

#[tokio::test]
async fn a_look_that_fails_leaves_the_change_alone_that_made_work_due() {
    let test = TestStore::new().await;
    let since = look(&test).await;
    test.store.accept(request(1)).await.unwrap();
    test.execute("UPDATE requests SET service = 'no service'")
        .await;
    let waiting = test.store.lease_when_due(
        Idle {
            arrived: test.store.arrived(),
            ..since
        },
        || Leasing::alone(at(9), HOLD),
        pending(),
    );
    let (failed, accepted) = tokio::join!(waiting, test.store.accept(request(2)));
    assert!(failed.is_err());
    assert_eq!(accepted.unwrap(), Accepted::New);
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 2);
}

#[tokio::test]
async fn a_look_waits_for_commits_of_other_processes_too() {
    let test = TestStore::new().await;
    let another = test.another().await;
    // With its answer the writer's first look at others is over.
    let entry = Entry::new(at(1), Event::Judged);
    test.store.note_rejected(entry).await.unwrap();
    let leased = test.lease_later(at(9)).await;
    another.accept(request(1)).await.unwrap();
    assert_eq!(leased.await.unwrap(), id(1));
}
