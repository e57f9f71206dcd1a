//! Postfix's reply port while it takes no replies: its trouble, and the one delivery that tries the
//! port. Knows no SMTP.

use std::net::SocketAddr;

use jiff::Timestamp;

use super::wait::Wait;
use crate::store::database::{
    Changes, Connection, DatabaseError, Due, Failure, Store, StoreError, StoreSettings, Text,
};

/// The trouble of Postfix's reply port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortTrouble {
    /// Address and port, `reply.smtp` of the configuration.
    pub(crate) port: SocketAddr,
    pub(crate) since: Timestamp,
    /// When the last attempt began.
    pub(crate) tried_at: Timestamp,
    /// When the next attempt may begin.
    pub(crate) until: Timestamp,
    /// Whether an attempt is under way. It may last until [`Self::until`].
    pub(crate) is_being_tried: bool,
    pub(crate) failures: u32,
    /// Whether the port answers and refuses one reply after the other.
    pub(crate) refuses: bool,
    pub(crate) trouble: String,
}

/// A reply port: that of the Postfix beside one gateway.
pub(in crate::store) struct ReplyPort {
    pub(super) node: String,
    pub(super) address: SocketAddr,
}

/// An attempt that failed because of the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortFailure {
    /// Address and port, `reply.smtp` of the configuration.
    pub(crate) port: SocketAddr,
    pub(crate) at: Timestamp,
    /// When the next attempt may begin.
    pub(crate) until: Timestamp,
    /// Whether the port answers and refuses one reply after the other.
    pub(crate) refuses: bool,
    pub(crate) trouble: String,
    /// Whether the attempt was the trial of a port in trouble.
    pub(crate) is_trial: bool,
}

/// State of the hand-over of replies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// The trouble of the port, if no reply is handed over.
    pub(crate) trouble: Option<PortTrouble>,
    /// Replies, each target by itself, whose last attempt Postfix refused for a reason other than
    /// the address.
    pub(crate) refused: u64,
    /// Postfix's answer to the last of those.
    pub(crate) refusal: Option<String>,
}

impl ReplyPort {
    /// The port at this address of the Postfix beside this gateway.
    pub(in crate::store) fn at(address: SocketAddr, settings: &StoreSettings) -> Self {
        Self {
            node: settings.node.clone(),
            address,
        }
    }
}

impl Store {
    /// Notes that a port takes no replies. True if that is new.
    pub(crate) async fn port_fails(&self, failure: PortFailure) -> Result<bool, StoreError> {
        self.change(move |changes| fails(&failure, changes)).await
    }

    /// Notes that a port takes replies. Everything that waits for it is due, and so are replies
    /// that it refused for a reason of the site's. True if the port was in trouble.
    pub(crate) async fn port_works(
        &self,
        port: SocketAddr,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change(move |changes| works(port, at, changes)).await
    }

    /// The state of the hand-over at this port.
    pub(crate) async fn hand_over(
        &self,
        port: SocketAddr,
        now: Timestamp,
    ) -> Result<HandOver, StoreError> {
        let port = ReplyPort::at(port, self.settings());
        self.read(move |connection| hand_over(&port, now, connection))
            .await
    }
}

fn hand_over(
    port: &ReplyPort,
    now: Timestamp,
    connection: &mut Connection,
) -> Result<HandOver, DatabaseError> {
    let row = connection.one(
        "SELECT count(*) AS refused, (
             SELECT (SELECT trouble FROM delivery_troubles
                     WHERE delivery = sequence ORDER BY attempt DESC LIMIT 1)
             FROM deliveries WHERE refused = 1 ORDER BY waits_since DESC LIMIT 1
         ) AS refusal
         FROM deliveries WHERE refused = 1",
        &[],
    )?;
    Ok(HandOver {
        trouble: trouble(port, now, connection)?,
        refused: row.get("refused")?,
        refusal: row.get("refusal")?,
    })
}

/// The trouble of a port, if it is in any.
pub(super) fn trouble(
    port: &ReplyPort,
    now: Timestamp,
    connection: &mut Connection,
) -> Result<Option<PortTrouble>, DatabaseError> {
    let void_after = Wait::void_after(now);
    let row = connection.optional(
        "SELECT began_at, tried_at, waits_until, failures, refuses, trouble, (
             SELECT waits_until FROM deliveries
             WHERE sequence = trial AND waits_until > $2 AND waits_since <= $3 AND NOT EXISTS (
                 SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts)
         ) AS trial_until
         FROM port_troubles WHERE node = $4 AND port = $1",
        &[&Text(port.address), &now, &void_after, &port.node],
    )?;
    row.map(|row| {
        let tried_at: Timestamp = row.get("tried_at")?;
        let trial_until: Option<Timestamp> = row.get("trial_until")?;
        let waits_until = match tried_at > void_after {
            true => now,
            false => row.get("waits_until")?,
        };
        Ok(PortTrouble {
            port: port.address,
            since: row.get("began_at")?,
            tried_at,
            until: trial_until.unwrap_or(waits_until),
            is_being_tried: trial_until.is_some(),
            failures: row.get("failures")?,
            refuses: row.get("refuses")?,
            trouble: row.get("trouble")?,
        })
    })
    .transpose()
}

/// Notes that a trial of the port has begun, by the delivery in this row.
pub(super) fn begin_trial(
    port: &ReplyPort,
    delivery: i64,
    now: Timestamp,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    connection.execute(
        "UPDATE port_troubles SET trial = $1, tried_at = $2 WHERE node = $4 AND port = $3",
        &[&delivery, &now, &Text(port.address), &port.node],
    )?;
    Ok(())
}

/// Once the trouble is known only its trial counts. Other attempts that fail then began before.
fn fails(failure: &PortFailure, changes: &mut Changes<'_>) -> Result<bool, Failure> {
    let PortFailure {
        port,
        at,
        until,
        refuses,
        trouble,
        is_trial,
    } = failure;
    let noted = changes.connection.optional(
        "INSERT INTO port_troubles
             (node, port, began_at, tried_at, waits_until, failures, refuses, trouble)
         VALUES ($7, $1, $2, $2, $3, 1, $4, $5)
         ON CONFLICT (node, port) DO UPDATE SET waits_until = excluded.waits_until, trial = NULL,
             failures = port_troubles.failures + 1, refuses = excluded.refuses,
             trouble = excluded.trouble
             WHERE $6 = 1
         RETURNING failures",
        &[
            &Text(port),
            &at,
            &until,
            &refuses,
            &trouble,
            &is_trial,
            &changes.settings.node,
        ],
    )?;
    let failures = noted.map(|row| row.get::<u32>("failures")).transpose()?;
    Ok(failures == Some(1))
}

fn works(port: SocketAddr, at: Timestamp, changes: &mut Changes<'_>) -> Result<bool, Failure> {
    let ended = changes.connection.execute(
        "DELETE FROM port_troubles WHERE node = $2 AND port = $1",
        &[&Text(port), &changes.settings.node],
    )?;
    if ended == 0 {
        return Ok(false);
    }
    changes.connection.execute(
        "UPDATE deliveries SET waits_since = $1, waits_until = $1
         WHERE refused = 1 AND waits_until > $1 AND EXISTS (
             SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts)",
        &[&at],
    )?;
    changes.due = Due::ANYTHING;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::SignedDuration;

    use super::*;
    use crate::audit::Event;
    use crate::store::testing::{HOLD, PORT, TestStore, at, id, order, reply};
    use crate::store::{First, LeasedDelivery, Leasing, Postponement, ToRetry};

    fn failure(second: i64, until: i64, refuses: bool, is_trial: bool) -> PortFailure {
        PortFailure {
            port: PORT,
            at: at(second),
            until: at(until),
            refuses,
            trouble: "connection refused".to_owned(),
            is_trial,
        }
    }

    async fn fails(test: &TestStore, failure: PortFailure) -> bool {
        test.store.port_fails(failure).await.unwrap()
    }

    /// Three replies for three targets. The first is on its way when the port dies at second 10.
    /// The port is tried again at 20.
    async fn dead() -> (TestStore, LeasedDelivery) {
        let test = TestStore::new().await;
        for (number, target) in [(1, "a@b.example"), (2, "c@d.example"), (3, "e@f.example")] {
            reply(&test, number, &[target]).await;
        }
        let first = test.lease_delivery(at(9)).await.unwrap();
        assert_eq!(first.trial, None);
        assert!(fails(&test, failure(10, 20, false, false)).await);
        (test, first)
    }

    /// Two replies. The first is refused at second 10 for a reason of the site's, and is due again
    /// at `until`. The port is tried again at 60.
    async fn refusing(until: Timestamp) -> (TestStore, LeasedDelivery) {
        let test = TestStore::new().await;
        for (number, target) in [(1, "a@b.example"), (2, "c@d.example")] {
            reply(&test, number, &[target]).await;
        }
        let refused = test.lease_delivery(at(9)).await.unwrap();
        assert!(fails(&test, failure(10, 60, true, false)).await);
        let put_off = Postponement {
            refused: true,
            ..Postponement::plain(at(10), until, "554 5.7.1 no")
        };
        let postponed = test.store.postpone_delivery(&refused.token, put_off);
        assert!(postponed.await.unwrap().is_some());
        (test, refused)
    }

    #[tokio::test]
    async fn a_dead_port_is_tried_by_one_delivery_at_a_time() {
        let (test, first) = dead().await;
        let store = &test.store;
        assert!(store.release_delivery(&first.token, at(10)).await.unwrap());
        assert!(test.lease_delivery(at(19)).await.is_none());
        assert_eq!(test.next_delivery(at(19)).await, Some(at(20)));

        let trial = test.lease_delivery(at(20)).await.unwrap();
        assert_eq!(trial.trial.as_ref().unwrap().failures, 1);
        assert!(test.lease_delivery(at(21)).await.is_none());
        let next = test.next_delivery(at(21)).await;
        assert_eq!(next, Some(at(20) + HOLD));
        // A renewed trial goes on, one of a dead worker does not.
        let later = at(20) + HOLD - SignedDuration::from_secs(1);
        let renewed = store.renew_delivery(&trial.token, later, HOLD);
        assert!(renewed.await.unwrap());
        assert!(test.lease_delivery(at(20) + HOLD).await.is_none());
        let another = test.lease_delivery(later + HOLD).await.unwrap();
        assert_ne!(another.request_id, trial.request_id);
    }

    #[tokio::test]
    async fn no_attempt_counts_that_a_dead_port_ended() {
        let (test, first) = dead().await;
        let store = &test.store;
        let released = store.release_delivery(&first.token, at(10));
        assert!(released.await.unwrap());
        let again = store.release_delivery(&first.token, at(10));
        assert!(!again.await.unwrap(), "given back once");
        // Each trial is another reply's, and none of them counts.
        let mut seen = Vec::new();
        for failures in 1..=3 {
            let now = at(20 * i64::from(failures));
            let trial = test.lease_delivery(now).await.unwrap();
            assert_eq!(
                (trial.attempts, trial.trial.unwrap().failures),
                (1, failures)
            );
            seen.push(trial.request_id);
            let failed = failure(20, 20 * i64::from(failures) + 20, false, true);
            assert!(!fails(&test, failed).await);
            let released = store.release_delivery(&trial.token, now);
            assert!(released.await.unwrap());
        }
        seen.sort_by_key(ToString::to_string);
        assert_eq!(seen, [id(1), id(2), id(3)]);
        let queue = store.queue(at(61)).await.unwrap();
        assert!(queue.iter().all(|queued| queued.attempts == 0), "{queue:?}");
        let events = test.events().await;
        assert!(events.iter().all(|(event, _)| *event != Event::Postponed));
    }

    #[tokio::test]
    async fn who_fails_beside_the_first_tells_nothing_new() {
        let (test, first) = dead().await;
        assert!(!fails(&test, failure(11, 99, false, false)).await);
        let hand_over = test.store.hand_over(PORT, at(11)).await.unwrap();
        let trouble = hand_over.trouble.unwrap();
        assert_eq!((trouble.since, trouble.until), (at(10), at(20)));
        assert_eq!((trouble.failures, trouble.refuses), (1, false));
        // Another port has no trouble.
        let other = SocketAddr::from(([127, 0, 0, 1], 25));
        let hand_over = test.store.hand_over(other, at(11)).await.unwrap();
        assert_eq!(hand_over, HandOver::default());
        let leased = test
            .store
            .lease_delivery(Leasing::alone(at(11), HOLD), other);
        let leased = leased.await.unwrap().work().unwrap();
        assert_ne!(leased.request_id, first.request_id);
    }

    #[tokio::test]
    async fn all_go_when_the_port_is_back() {
        let (test, first) = dead().await;
        let store = &test.store;
        store.release_delivery(&first.token, at(10)).await.unwrap();
        let trial = test.lease_delivery(at(20)).await.unwrap();
        assert!(store.delivered(&trial, at(21), "250").await.unwrap());
        assert!(store.port_works(PORT, at(21)).await.unwrap());
        assert!(!store.port_works(PORT, at(21)).await.unwrap());
        for _ in 0..2 {
            let leased = test.lease_delivery(at(21)).await.unwrap();
            assert_eq!(leased.trial, None);
        }
    }

    #[tokio::test]
    async fn a_port_that_refuses_is_tried_at_once_by_what_is_new() {
        let (test, _) = refusing(at(900)).await;
        let store = &test.store;
        assert!(
            test.lease_delivery(at(11)).await.is_none(),
            "it waited before"
        );
        reply(&test, 12, &["e@f.example"]).await;
        let new = test.lease_delivery(at(12)).await.unwrap();
        assert_eq!(new.request_id, id(12));
        assert!(new.trial.is_some());
        let seen = store.hand_over(PORT, at(12)).await.unwrap();
        assert_eq!(
            (seen.refused, seen.refusal.as_deref()),
            (1, Some("554 5.7.1 no"))
        );

        // It is taken: the refused one is tried again, and need not wait.
        assert!(store.delivered(&new, at(13), "250").await.unwrap());
        assert!(store.port_works(PORT, at(13)).await.unwrap());
        let due = [at(13), at(13)].map(|now| test.lease_delivery(now));
        for leased in due {
            assert_ne!(leased.await.unwrap().request_id, id(12));
        }
    }

    #[tokio::test]
    async fn neither_an_order_nor_a_clock_set_back_waits_for_the_port() {
        let (test, first) = dead().await;
        let store = &test.store;
        store.release_delivery(&first.token, at(10)).await.unwrap();
        let ended = store.retry(ToRetry::default(), order(12)).await.unwrap();
        assert_eq!((ended.port, ended.replies), (true, 0));
        assert!(test.lease_delivery(at(12)).await.unwrap().trial.is_some());

        let (test, first) = dead().await;
        let store = &test.store;
        store.release_delivery(&first.token, at(10)).await.unwrap();
        let hour_before = at(10) - SignedDuration::from_hours(1);
        let trial = test.lease_delivery(hour_before).await.unwrap();
        assert!(trial.trial.is_some());
    }

    #[tokio::test]
    async fn a_trial_that_has_ended_blocks_no_other_when_the_clock_is_set_back() {
        let (test, first) = dead().await;
        let store = &test.store;
        store.release_delivery(&first.token, at(10)).await.unwrap();
        let trial = test.lease_delivery(at(20)).await.unwrap();
        fails(&test, failure(20, 40, false, true)).await;
        store.release_delivery(&trial.token, at(20)).await.unwrap();
        let hour_before = at(20) - SignedDuration::from_hours(1);
        let next = test.lease_delivery(hour_before).await.unwrap();
        assert!(next.trial.is_some());
    }

    /// The refused reply is due again at second 50. Neither turn makes it the trial.
    #[tokio::test]
    async fn a_trial_is_of_what_was_tried_least() {
        for first in [First::Oldest, First::Newest] {
            let (test, refused) = refusing(at(50)).await;
            let leasing = Leasing {
                first,
                ..Leasing::alone(at(60), HOLD)
            };
            let trial = test.store.lease_delivery(leasing, PORT).await;
            let trial = trial.unwrap().work().unwrap();
            assert!(trial.trial.is_some());
            assert_ne!(trial.request_id, refused.request_id);
        }
    }

    #[tokio::test]
    async fn new_and_old_go_in_turn() {
        let test = TestStore::new().await;
        for number in 1..=4 {
            reply(&test, number, &[&format!("a{number}@b.example")]).await;
        }
        let mut order = Vec::new();
        for first in [First::Newest, First::Oldest, First::Newest, First::Oldest] {
            let leasing = Leasing {
                first,
                ..Leasing::alone(at(9), HOLD)
            };
            let leased = test.store.lease_delivery(leasing, PORT).await.unwrap();
            order.push(leased.work().unwrap().request_id);
        }
        assert_eq!(order, [id(4), id(1), id(3), id(2)]);
    }
}
