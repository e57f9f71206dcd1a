//! The store against a simple model of it. Random sequences of changes, with stale tokens and
//! crashes, must have the outcome that the model predicts, and each accepted request one final
//! result.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::testing::{HOLD, TestStore, at, completion, id, request};
use super::*;
use crate::audit::Event;
use crate::request_id::RequestId;

#[derive(Clone, Debug)]
enum Step {
    Accept {
        sender: u8,
        identity: Option<u8>,
    },
    Lease,
    Complete {
        token: usize,
        targets: Vec<&'static str>,
    },
    Postpone {
        token: usize,
        seconds: i64,
    },
    LeaseDelivery,
    End {
        token: usize,
        delivered: bool,
    },
    PostponeDelivery {
        token: usize,
        seconds: i64,
    },
    /// Renews the lease of a request or a delivery.
    Renew {
        token: usize,
        delivery: bool,
    },
    Wait {
        seconds: i64,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    const WEEK: i64 = 7 * 24 * 3600;
    // So many leases ago. Those further back are lost.
    let token = 0..4_usize;
    let targets = prop::sample::subsequence(vec!["a@b.example", "c@d.example"], 0..=2);
    prop_oneof![
        4 => (0..3_u8, prop::option::of(0..4_u8))
            .prop_map(|(sender, identity)| Step::Accept { sender, identity }),
        4 => Just(Step::Lease),
        4 => (token.clone(), targets)
            .prop_map(|(token, targets)| Step::Complete { token, targets }),
        1 => (token.clone(), 0..400_i64)
            .prop_map(|(token, seconds)| Step::Postpone { token, seconds }),
        3 => Just(Step::LeaseDelivery),
        2 => (token.clone(), any::<bool>())
            .prop_map(|(token, delivered)| Step::End { token, delivered }),
        1 => (token.clone(), 0..400_i64)
            .prop_map(|(token, seconds)| Step::PostponeDelivery { token, seconds }),
        2 => (token, any::<bool>())
            .prop_map(|(token, delivery)| Step::Renew { token, delivery }),
        2 => prop_oneof![9 => 0..400_i64, 1 => Just(WEEK)]
            .prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Crash),
    ]
}

/// A request or a delivery. Its place in the list is its age.
#[derive(Clone, Debug)]
struct Row {
    request: RequestId,
    owner: String,
    due: Timestamp,
    attempts: u32,
    given_back: bool,
}

/// Leases the row that is due longest among the oldest of each owner.
fn lease(rows: &mut [Row], now: Timestamp) -> Option<&Row> {
    let first_of = |owner: &str| rows.iter().position(|row| row.owner == owner);
    let place = (0..rows.len())
        .filter(|&place| first_of(&rows[place].owner) == Some(place) && rows[place].due <= now)
        .min_by_key(|&place| rows[place].due)?;
    rows[place].attempts += 1;
    rows[place].due = now + HOLD;
    rows[place].given_back = false;
    Some(&rows[place])
}

/// Renews the lease, if it is still good and was not given back.
fn renew(rows: &mut [Row], request: RequestId, owner: &str, attempts: u32, now: Timestamp) -> bool {
    let Some(place) = held(rows, request, owner, attempts) else {
        return false;
    };
    if rows[place].given_back {
        return false;
    }
    rows[place].due = now + HOLD;
    true
}

/// The row that a lease is still good for.
fn held(rows: &[Row], request: RequestId, owner: &str, attempts: u32) -> Option<usize> {
    rows.iter().position(|row| {
        (row.request, row.owner.as_str(), row.attempts) == (request, owner, attempts)
    })
}

struct Run {
    test: TestStore,
    now: Timestamp,
    accepted: u8,
    identities: HashMap<u8, (RequestId, Timestamp)>,
    requests: Vec<Row>,
    deliveries: Vec<Row>,
    leased: Vec<(LeasedRequest, String)>,
    leased_deliveries: Vec<LeasedDelivery>,
}

impl Run {
    async fn new() -> Self {
        Self {
            test: TestStore::new().await,
            now: at(0),
            accepted: 0,
            identities: HashMap::new(),
            requests: Vec::new(),
            deliveries: Vec::new(),
            leased: Vec::new(),
            leased_deliveries: Vec::new(),
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Accept { sender, identity } => self.accept(sender, identity).await,
            Step::Lease => drop(self.lease().await),
            Step::Complete { token, targets } => self.complete(token, &targets).await,
            Step::Postpone { token, seconds } => self.postpone(token, seconds).await,
            Step::LeaseDelivery => drop(self.lease_delivery().await),
            Step::End { token, delivered } => self.end(token, delivered).await,
            Step::PostponeDelivery { token, seconds } => {
                self.postpone_delivery(token, seconds).await
            }
            Step::Renew {
                token,
                delivery: false,
            } => self.renew(token).await,
            Step::Renew {
                token,
                delivery: true,
            } => self.renew_delivery(token).await,
            Step::Wait { seconds } => self.now += SignedDuration::from_secs(seconds),
            Step::Crash => self.test = self.test.after_crash().await,
        }
        for (rows, next) in [
            (&self.requests, self.test.next_request().await),
            (&self.deliveries, self.test.next_delivery(self.now).await),
        ] {
            let due = rows.iter().map(|row| row.due);
            assert!(next >= due.min(), "no row is due before it");
            assert_eq!(next.is_some(), !rows.is_empty());
        }
    }

    async fn accept(&mut self, sender: u8, identity: Option<u8>) {
        self.accepted += 1;
        let new = id(self.accepted);
        let sender = format!("sender{sender}@vendor.example");
        let known = identity
            .and_then(|identity| self.identities.get(&identity))
            .filter(|(_, since)| self.now <= *since + NewRequest::IDENTITY_KEPT)
            .map(|(request, _)| *request);
        let accepted = self.test.store.accept(NewRequest {
            accepted_at: self.now,
            forget_before: self.now - NewRequest::IDENTITY_KEPT,
            sender: sender.clone(),
            identity: identity.map(|identity| [identity; 32]),
            ..request(self.accepted)
        });
        let accepted = accepted.await.unwrap();
        assert_eq!(accepted, known.map_or(Accepted::New, Accepted::Duplicate));
        if accepted == Accepted::New {
            self.requests.push(Row {
                request: new,
                owner: sender,
                due: self.now,
                attempts: 0,
                given_back: false,
            });
            if let Some(identity) = identity {
                self.identities.insert(identity, (new, self.now));
            }
        }
    }

    /// Returns whether a request was due.
    async fn lease(&mut self) -> bool {
        let expected = lease(&mut self.requests, self.now).cloned();
        let leased = self.test.lease(self.now).await;
        assert_eq!(
            leased.as_ref().map(|leased| (leased.id, leased.attempts)),
            expected.as_ref().map(|row| (row.request, row.attempts))
        );
        self.leased
            .extend(leased.zip(expected.map(|row| row.owner)));
        !self.leased.is_empty() && self.leased.last().is_some()
    }

    async fn complete(&mut self, token: usize, targets: &[&str]) {
        let Some((leased, sender)) = self.leased.iter().nth_back(token) else {
            return;
        };
        let held = held(&self.requests, leased.id, sender, leased.attempts);
        let completion = completion(self.now, targets);
        let completed = self
            .test
            .store
            .complete(&leased.token, completion)
            .await
            .unwrap();
        let expected = held.map_or(Completed::LeaseLost, |_| Completed::Committed);
        assert_eq!(completed, expected);
        if let Some(place) = held {
            let request = self.requests.remove(place).request;
            self.deliveries.extend(targets.iter().map(|target| Row {
                request,
                owner: (*target).to_owned(),
                due: self.now,
                attempts: 0,
                given_back: false,
            }));
        }
    }

    async fn postpone(&mut self, token: usize, seconds: i64) {
        let Some((leased, sender)) = self.leased.iter().nth_back(token) else {
            return;
        };
        let held = held(&self.requests, leased.id, sender, leased.attempts);
        let until = self.now + SignedDuration::from_secs(seconds);
        let postponed = self
            .test
            .store
            .postpone(&leased.token, self.now, until, "later")
            .await;
        assert_eq!(postponed.unwrap(), held.is_some());
        if let Some(place) = held {
            self.requests[place].due = until;
            self.requests[place].given_back = true;
        }
    }

    async fn lease_delivery(&mut self) -> bool {
        let expected = lease(&mut self.deliveries, self.now);
        let expected = expected.map(|row| (row.request, row.owner.clone(), row.attempts));
        let leased = self.test.lease_delivery(self.now).await;
        let found = leased
            .as_ref()
            .map(|leased| (leased.request_id, leased.target.clone(), leased.attempts));
        assert_eq!(found, expected);
        self.leased_deliveries.extend(leased);
        found.is_some()
    }

    async fn end(&mut self, token: usize, delivered: bool) {
        let Some(leased) = self.leased_deliveries.iter().nth_back(token) else {
            return;
        };
        let (request, target) = (leased.request_id, &leased.target);
        let store = &self.test.store;
        let (ended, place) = if delivered {
            let ended = store.delivered(leased, self.now, "250 ok").await;
            // Whoever has the lease by now.
            let mut rows = self.deliveries.iter();
            let place = rows.position(|row| (row.request, &row.owner) == (request, target));
            (ended, place)
        } else {
            let ended = store.undeliverable(&leased.token, self.now, "550 no").await;
            let place = held(&self.deliveries, request, target, leased.attempts);
            (ended, place)
        };
        assert_eq!(ended.unwrap(), place.is_some());
        if let Some(place) = place {
            self.deliveries.remove(place);
        }
    }

    async fn renew(&mut self, token: usize) {
        let Some((leased, sender)) = self.leased.iter().nth_back(token) else {
            return;
        };
        let (rows, now) = (&mut self.requests, self.now);
        let expected = renew(rows, leased.id, sender, leased.attempts, now);
        let renewed = self.test.store.renew(&leased.token, now, HOLD).await;
        assert_eq!(renewed.unwrap(), expected);
    }

    async fn renew_delivery(&mut self, token: usize) {
        let Some(leased) = self.leased_deliveries.iter().nth_back(token) else {
            return;
        };
        let (request, target, attempts) = (leased.request_id, &leased.target, leased.attempts);
        let (rows, now) = (&mut self.deliveries, self.now);
        let expected = renew(rows, request, target, attempts, now);
        let store = &self.test.store;
        let renewed = store.renew_delivery(&leased.token, now, HOLD).await;
        assert_eq!(renewed.unwrap(), expected);
    }

    async fn postpone_delivery(&mut self, token: usize, seconds: i64) {
        let Some(leased) = self.leased_deliveries.iter().nth_back(token) else {
            return;
        };
        let held = held(
            &self.deliveries,
            leased.request_id,
            &leased.target,
            leased.attempts,
        );
        let until = self.now + SignedDuration::from_secs(seconds);
        let store = &self.test.store;
        let postponed = store
            .postpone_delivery(
                &leased.token,
                Postponement::plain(self.now, until, "451 later"),
            )
            .await;
        assert_eq!(postponed.unwrap().is_some(), held.is_some());
        if let Some(place) = held {
            self.deliveries[place].due = until;
            self.deliveries[place].given_back = true;
        }
    }

    /// Finishes everything that is left, and counts the final results.
    async fn finish(mut self) {
        self.now += SignedDuration::from_hours(1);
        while !self.requests.is_empty() {
            self.leased.clear();
            assert!(self.lease().await);
            self.complete(0, &["a@b.example"]).await;
        }
        while !self.deliveries.is_empty() {
            self.leased_deliveries.clear();
            assert!(self.lease_delivery().await);
            self.end(0, true).await;
        }
        let store = &self.test.store;
        assert_eq!(store.spool_usage().await.unwrap(), SpoolUsage::default());
        assert_eq!(
            store.verify_audit(None).await.unwrap(),
            Ok(store.audit_head().await.unwrap())
        );
        let ids_of = |events: &[(Event, Option<String>)], wanted| {
            let mut ids: Vec<_> = events
                .iter()
                .filter(|(event, _)| *event == wanted)
                .map(|(_, id)| id.clone())
                .collect();
            ids.sort();
            ids
        };
        let events = self.test.events().await;
        assert_eq!(
            ids_of(&events, Event::Completed),
            ids_of(&events, Event::Accepted)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_foretells(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new().await;
            for step in steps {
                run.step(step).await;
            }
            run.finish().await;
        });
    }
}
