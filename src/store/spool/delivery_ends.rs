//! The ends of deliveries: handed over, refused for good, given up, or given back untried.

use std::net::SocketAddr;

use jiff::Timestamp;

use super::deliveries::{EndedDelivery, LeasedDelivery, lease_next, remove};
use super::leases::{LeaseToken, Leasing};
use super::replies::NOTICE;
use super::wait::is_in_work;
use crate::audit::{Entry, Event};
use crate::policy::Requester;
use crate::request_id::RequestId;
use crate::store::database::{
    Changes, Connection, DatabaseError, Failure, Looked, Store, StoreError,
};
use crate::store::throttle::{acquaintance, buckets};

/// A reply for one target that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) request_id: RequestId,
    pub(crate) queue_id: String,
    pub(crate) target: String,
}

impl Store {
    /// Ends a delivery that Postfix took, with Postfix's answer in `detail`. The audit log gets the
    /// entry in any case, since it must show everything that Postfix has. False if the delivery
    /// had ended before.
    pub(crate) async fn delivered(
        &self,
        leased: &LeasedDelivery,
        at: Timestamp,
        detail: &str,
    ) -> Result<bool, StoreError> {
        let (row, entry) = (leased.token.row, taken(leased, at, detail));
        self.change(move |changes| end_taken(row, &entry, changes))
            .await
    }

    /// The same, and leases the next delivery in the same transaction. Nobody waits for either: the
    /// reply is in Postfix.
    pub(crate) async fn delivered_and_lease(
        &self,
        leased: &LeasedDelivery,
        at: Timestamp,
        detail: &str,
        terms: impl Fn() -> (Leasing<LeasedDelivery>, SocketAddr) + Send + 'static,
    ) -> Result<(bool, Looked<LeasedDelivery>), StoreError> {
        let (row, entry) = (leased.token.row, taken(leased, at, detail));
        self.change_at_leisure(move |changes| {
            let ended = end_taken(row, &entry, changes)?;
            let (leasing, port) = terms();
            Ok((ended, lease_next(&leasing, port, changes)?))
        })
        .await
    }

    /// Ends a delivery that Postfix refused for good, with Postfix's answer in `detail`. False if
    /// the lease has passed to another.
    pub(crate) async fn undeliverable(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        at: Timestamp,
        detail: &str,
    ) -> Result<bool, StoreError> {
        let (token, detail) = (*token, detail.to_owned());
        self.change(move |changes| {
            let Some(held) = Held::by(token, changes.connection)? else {
                return Ok(false);
            };
            remove(token.row, changes)?;
            let entry = Entry {
                result: result_of(held.is_notice),
                detail: Some(detail.clone()),
                attempts: Some(token.lease),
                ..held.entry(at, Event::Undeliverable)
            };
            changes.audit(entry)?;
            Ok(true)
        })
        .await
    }

    /// Gives back a delivery that was not offered to Postfix. The attempt does not count, and the
    /// delivery is due. False if the lease has passed to another.
    pub(crate) async fn release_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let token = *token;
        self.change(move |changes| {
            // Behind the others that are due, since the failure may be its own fault after all.
            let released = changes.connection.execute(
                "UPDATE deliveries
                 SET attempts = attempts - 1, waits_since = $1, waits_until = $1
                 WHERE sequence = $2 AND attempts = $3",
                &[&at, &token.row, &token.lease],
            )?;
            Ok(released > 0)
        })
        .await
    }

    /// Ends deliveries that wait, of replies completed before, for this reason. Returns them, some
    /// dozens at most: there may be more.
    pub(crate) async fn give_up_deliveries(
        &self,
        completed_before: Timestamp,
        at: Timestamp,
        reason: &str,
    ) -> Result<Vec<GivenUp>, StoreError> {
        let reason = reason.to_owned();
        self.change(move |changes| give_up(completed_before, at, &reason, changes))
            .await
    }
}

/// The entry of a delivery that Postfix took.
fn taken(leased: &LeasedDelivery, at: Timestamp, detail: &str) -> Entry {
    Entry {
        queue_id: Some(leased.queue_id.clone()),
        request_id: Some(leased.request_id.to_string()),
        target: Some(leased.target.clone()),
        result: result_of(leased.is_notice),
        detail: Some(detail.to_owned()),
        attempts: Some(leased.attempts),
        ..Entry::new(at, Event::Delivered)
    }
}

fn end_taken(row: i64, entry: &Entry, changes: &mut Changes<'_>) -> Result<bool, Failure> {
    let ended = remove(row, changes)?;
    if let Some(ended) = &ended {
        remember(ended, changes.connection)?;
    }
    changes.audit(entry.clone())?;
    Ok(ended.is_some())
}

/// A delivery whose lease is held.
pub(super) struct Held {
    request_id: RequestId,
    queue_id: String,
    pub(super) target: String,
    pub(super) was_put_off: bool,
    is_notice: bool,
}

impl Held {
    /// Returns none if the lease has passed to another.
    pub(super) fn by(
        token: LeaseToken<LeasedDelivery>,
        connection: &mut Connection,
    ) -> Result<Option<Self>, DatabaseError> {
        let row = connection.optional(
            "SELECT request_id, queue_id, target, EXISTS (
                 SELECT 1 FROM delivery_troubles WHERE delivery = deliveries.sequence
             ) AS was_put_off, kind = 'notice' AS is_notice
             FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
             WHERE deliveries.sequence = $1 AND attempts = $2",
            &[&token.row, &token.lease],
        )?;
        row.map(|row| {
            Ok(Self {
                request_id: row.text("request_id")?,
                queue_id: row.get("queue_id")?,
                target: row.get("target")?,
                was_put_off: row.get("was_put_off")?,
                is_notice: row.get("is_notice")?,
            })
        })
        .transpose()
    }

    pub(super) fn entry(&self, at: Timestamp, event: Event) -> Entry {
        Entry {
            request_id: Some(self.request_id.to_string()),
            queue_id: Some(self.queue_id.clone()),
            target: Some(self.target.clone()),
            ..Entry::new(at, event)
        }
    }
}

/// The result that the entry of a delivery's end names. The result of a final reply is in the entry
/// of its completion.
fn result_of(is_notice: bool) -> Option<String> {
    is_notice.then(|| NOTICE.to_owned())
}

/// Remembers that the target of a delivery was answered, and whether its request was verified. A
/// notice is no answer.
fn remember(ended: &EndedDelivery, connection: &mut Connection) -> Result<(), DatabaseError> {
    if ended.is_notice {
        return Ok(());
    }
    let is_verified = ended.requester == Requester::Verified && ended.is_success;
    let verified_from = is_verified.then(|| ended.network.as_deref().unwrap_or_default());
    acquaintance::remember(&ended.target, verified_from, buckets::KEPT, connection)
}

/// Deliveries that one transaction ends.
const GIVEN_UP_AT_ONCE: u32 = 50;

fn give_up(
    completed_before: Timestamp,
    at: Timestamp,
    reason: &str,
    changes: &mut Changes<'_>,
) -> Result<Vec<GivenUp>, Failure> {
    // By the age of the request, which has an index and is no less than that of the reply.
    // SQLite looks at the tables of a CROSS JOIN in their order.
    let rows = changes.connection.all(
        concat!(
            "SELECT deliveries.sequence, request_id, queue_id, target, attempts
             FROM replies CROSS JOIN deliveries
             WHERE deliveries.reply = replies.sequence
                 AND accepted_at < $2 AND completed_at < $2 AND NOT ",
            is_in_work!(),
            " LIMIT $3"
        ),
        &[&at, &completed_before, &GIVEN_UP_AT_ONCE],
    )?;
    let mut all_given_up = Vec::with_capacity(rows.len());
    for row in rows {
        let given_up = GivenUp {
            request_id: row.text("request_id")?,
            queue_id: row.get("queue_id")?,
            target: row.get("target")?,
        };
        remove(row.get("sequence")?, changes)?;
        let entry = Entry {
            request_id: Some(given_up.request_id.to_string()),
            queue_id: Some(given_up.queue_id.clone()),
            target: Some(given_up.target.clone()),
            detail: Some(reason.to_owned()),
            attempts: Some(row.get("attempts")?),
            ..Entry::new(at, Event::Undeliverable)
        };
        changes.audit(entry)?;
        all_given_up.push(given_up);
    }
    Ok(all_given_up)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::testing::{HOLD, TestStore, at, completion, id, reply};
    use crate::store::{Postponement, SpoolUsage};

    #[tokio::test]
    async fn each_target_is_delivered_to_by_itself() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example", "c@d.example", "a@b.example"]).await;
        let a = test.lease_delivery(at(2)).await.unwrap();
        let c = test.lease_delivery(at(2)).await.unwrap();
        assert!(test.lease_delivery(at(2)).await.is_none());
        assert_eq!(
            (a.target.as_str(), c.target.as_str()),
            ("a@b.example", "c@d.example")
        );
        assert_eq!(
            (a.request_id, a.attempts, a.completed_at),
            (id(1), 1, at(1))
        );
        assert_eq!(
            (a.queue_id.as_str(), a.reverse_path.as_str()),
            ("QUEUE1", "")
        );
        assert_eq!(
            Some(&a.message),
            completion(at(1), &[])
                .reply
                .map(|reply| reply.message)
                .as_ref()
        );

        assert!(test.store.delivered(&a, at(3), "250 queued").await.unwrap());
        assert_eq!(test.store.spool_usage().await.unwrap().replies, 1);
        assert!(
            test.store
                .undeliverable(&c.token, at(3), "550 no")
                .await
                .unwrap()
        );
        assert_eq!(
            test.store.spool_usage().await.unwrap(),
            SpoolUsage::default()
        );

        let stored = test.store.audit_entries(3, 9).await.unwrap();
        let entries: Vec<_> = stored
            .iter()
            .map(|stored| stored.entry().unwrap())
            .collect();
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.event, entry.target.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                (Event::Delivered, Some("a@b.example")),
                (Event::Undeliverable, Some("c@d.example"))
            ]
        );
        assert!(
            entries
                .iter()
                .all(|entry| entry.request_id == Some(id(1).to_string()))
        );
    }

    #[tokio::test]
    async fn a_lease_that_has_passed_on_is_lost() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        let late = test.lease_delivery(at(2)).await.unwrap();
        assert_eq!(test.next_delivery(at(2)).await, Some(at(2) + HOLD));
        let holder = test.lease_delivery(at(2) + HOLD).await.unwrap();
        assert!(
            !test
                .store
                .undeliverable(&late.token, at(9), "550")
                .await
                .unwrap()
        );
        assert!(
            test.store
                .postpone_delivery(&late.token, Postponement::plain(at(9), at(99), "451"))
                .await
                .unwrap()
                .is_none()
        );
        assert!(test.store.delivered(&holder, at(9), "250").await.unwrap());
        assert!(!test.store.delivered(&holder, at(9), "250").await.unwrap());
    }

    #[tokio::test]
    async fn what_postfix_took_ends_a_delivery_whoever_has_its_lease() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        let store = &test.store;
        let late = test.lease_delivery(at(2)).await.unwrap();
        let holder = test.lease_delivery(at(2) + HOLD).await.unwrap();
        assert!(store.delivered(&late, at(9), "250 first").await.unwrap());
        assert_eq!(store.spool_usage().await.unwrap(), SpoolUsage::default());

        // The other attempt is not repeated, whatever its outcome.
        let (token, at) = (&holder.token, at(10));
        assert!(!store.undeliverable(token, at, "550").await.unwrap());
        let put_off = store.postpone_delivery(token, Postponement::plain(at, at + HOLD, "451"));
        assert_eq!(put_off.await.unwrap(), None);
        assert!(!store.delivered(&holder, at, "250 second").await.unwrap());
        assert!(test.lease_delivery(at + HOLD + HOLD).await.is_none());
        let entry = test.last_entry().await;
        assert_eq!(
            (entry.event, entry.detail.as_deref(), entry.attempts),
            (Event::Delivered, Some("250 second"), Some(2)),
            "the log has each copy that Postfix took"
        );
    }

    #[tokio::test]
    async fn what_postfix_took_is_in_the_log_after_any_end() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        let store = &test.store;
        let late = test.lease_delivery(at(2)).await.unwrap();
        let holder = test.lease_delivery(at(2) + HOLD).await.unwrap();
        let given_up = store.undeliverable(&holder.token, at(9), "too old");
        assert!(given_up.await.unwrap());
        assert!(!store.delivered(&late, at(10), "250 queued").await.unwrap());
        let entry = test.last_entry().await;
        assert_eq!(
            (entry.event, entry.target.as_deref(), entry.attempts),
            (Event::Delivered, Some("a@b.example"), Some(1))
        );
    }
}
