//! Replies that wait: given back after a failed attempt, and preceded by a notice when they are
//! late.

use jiff::Timestamp;

use super::deliveries::LeasedDelivery;
use super::delivery_ends::Held;
use super::leases::LeaseToken;
use super::replies::{self, Answered, FinishedReply, ReplyKind};
use super::troubles::{self, Of};
use super::wait::is_in_work;
use crate::audit::Event;
use crate::mail;
use crate::store::database::{Changes, Connection, DatabaseError, Failure, Row, Store, StoreError};

/// A delivery that is given back for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Postponement {
    pub(crate) at: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) reason: String,
    /// Whether Postfix refused the reply for a reason other than its address.
    pub(crate) refused: bool,
    /// Requests accepted by then are late.
    pub(crate) late_if_by: Timestamp,
}

impl Store {
    /// Gives a delivery back for a time. If requests are late, notices go before this reply and
    /// those to the same target behind it, unless the target has one. Returns the number of
    /// notices, or none if the lease has passed to another.
    pub(crate) async fn postpone_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        postponement: Postponement,
    ) -> Result<Option<usize>, StoreError> {
        let token = *token;
        self.change(move |changes| postpone(token, &postponement, changes))
            .await
    }

    /// Puts notices before replies that wait, for requests accepted by `late_if_by` whose targets
    /// have none. Returns their number, some dozens at most: there may be more.
    pub(crate) async fn notify_late(
        &self,
        at: Timestamp,
        late_if_by: Timestamp,
    ) -> Result<usize, StoreError> {
        self.change(move |changes| notify_late(at, late_if_by, changes))
            .await
    }
}

fn postpone(
    token: LeaseToken<LeasedDelivery>,
    postponement: &Postponement,
    changes: &mut Changes<'_>,
) -> Result<Option<usize>, Failure> {
    let Postponement {
        at,
        until,
        ref reason,
        refused,
        late_if_by,
    } = *postponement;
    let Some(held) = Held::by(token, changes.connection)? else {
        return Ok(None);
    };
    changes.connection.execute(
        "UPDATE deliveries SET waits_since = $1, waits_until = $2, refused = $3
         WHERE sequence = $4",
        &[&at, &until, &refused, &token.row],
    )?;
    let (of, attempt) = (Of::Delivery(token.row), token.lease);
    troubles::note(of, attempt, at, reason, changes.connection)?;
    // An outage costs the audit log one entry for each delivery.
    if !held.was_put_off {
        let mut entry = held.entry(at, Event::Postponed);
        entry.reason = Some(reason.clone());
        changes.audit(entry)?;
    }
    // Deliveries to the same target wait behind this one.
    let late = changes.connection.all(
        "SELECT deliveries.sequence, reply, target, place, request_id, queue_id, accepted_at,
             reverse_path, requester, network
         FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
         WHERE target = $1 AND notified = 0 AND accepted_at <= $2
         ORDER BY place",
        &[&held.target, &late_if_by],
    )?;
    notify(&late, at, until, changes).map(Some)
}

/// Notices that one transaction makes.
const NOTIFIED_AT_ONCE: u32 = 50;

/// The late replies. SQLite looks at the tables of a CROSS JOIN in their order: the age of replies
/// has an index.
const LATE: &str = concat!(
    "SELECT deliveries.sequence, reply, target, place, request_id, queue_id, accepted_at,
         reverse_path, requester, network
     FROM replies CROSS JOIN deliveries
     WHERE deliveries.reply = replies.sequence
         AND accepted_at <= $2 AND notified = 0 AND NOT ",
    is_in_work!(),
    " ORDER BY accepted_at LIMIT $3"
);

fn notify_late(
    at: Timestamp,
    late_if_by: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<usize, Failure> {
    let late = changes
        .connection
        .all(LATE, &[&at, &late_if_by, &NOTIFIED_AT_ONCE])?;
    notify(&late, at, at, changes)
}

/// Puts a notice, due at `until`, before each of these late replies. Returns their number.
fn notify(
    late: &[Row],
    at: Timestamp,
    until: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<usize, Failure> {
    for row in late {
        let target: String = row.get("target")?;
        let of = Answered::read(row)?;
        let notice = FinishedReply {
            message: compose_notice(row, at, changes.connection)?,
            reverse_path: row.get("reverse_path")?,
            targets: vec![target.clone()],
        };
        let kind = ReplyKind::Notice;
        let notice = replies::insert_message(&notice, kind, &of, at, changes.connection)?;
        put_before(row, notice, (at, until), changes.connection)?;
        let entry = replies::notified(&of, Some(target), at);
        changes.audit(entry)?;
    }
    Ok(late.len())
}

/// Composes the notice from the reply itself. One reply is read at a time, as they may be many.
fn compose_notice(
    late: &Row,
    at: Timestamp,
    connection: &mut Connection,
) -> Result<Vec<u8>, DatabaseError> {
    let reply: Vec<u8> = connection.scalar(
        "SELECT message FROM replies WHERE sequence = $1",
        &[&late.get::<i64>("reply")?],
    )?;
    Ok(mail::compose_late_notice_before(&reply, at))
}

/// Passes the turn of a late reply to its notice.
fn put_before(
    late: &Row,
    notice: i64,
    (since, until): (Timestamp, Timestamp),
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    connection.execute(
        "UPDATE deliveries SET turn = 0, notified = 1 WHERE sequence = $1",
        &[&late.get::<i64>("sequence")?],
    )?;
    let target: String = late.get("target")?;
    let place = Some(late.get::<i64>("place")? - 1);
    replies::insert_delivery(notice, &target, since, until, true, place, connection)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::spool::delivery_ends::GivenUp;
    use crate::store::testing::{TestStore, at, id, reply, request};
    use crate::store::{Postponement, SpoolUsage};

    #[tokio::test]
    async fn a_late_reply_comes_after_its_notice_and_the_notice_once() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example", "c@d.example"]).await;
        reply(&test, 2, &["a@b.example"]).await;
        let first = test.lease_delivery(at(3)).await.unwrap();
        assert_eq!(
            (first.target.as_str(), first.can_be_notified),
            ("a@b.example", true)
        );
        assert_eq!(first.accepted_at, request(1).accepted_at);
        let put_off = async |token: &LeaseToken<LeasedDelivery>, late_if_by| {
            let put_off = Postponement {
                late_if_by,
                ..Postponement::plain(at(3), at(60), "451")
            };
            test.store.postpone_delivery(token, put_off).await
        };
        assert_eq!(put_off(&first.token, at(0)).await.unwrap(), Some(0));
        let other = test.lease_delivery(at(60)).await.unwrap();
        assert_eq!(other.target, "c@d.example");
        let first = test.lease_delivery(at(60)).await.unwrap();
        // The one behind it is late too, and never was tried.
        assert_eq!(put_off(&first.token, at(2)).await.unwrap(), Some(2));

        for (number, is_notice) in [(1, true), (1, false), (2, true), (2, false)] {
            let next = test.lease_delivery(at(60)).await.unwrap();
            assert_eq!(next.request_id, id(number));
            assert_eq!(next.is_notice, is_notice);
            assert!(!next.can_be_notified);
            // Put off again, no second notice is sent.
            assert_eq!(put_off(&next.token, at(99)).await.unwrap(), Some(0));
            let next = test.lease_delivery(at(60)).await.unwrap();
            test.store.delivered(&next, at(61), "250").await.unwrap();
        }
        assert!(test.lease_delivery(at(62)).await.is_none());
    }

    #[tokio::test]
    async fn a_notice_is_made_of_the_reply_that_it_precedes() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        assert_eq!(test.store.notify_late(at(2), at(1)).await.unwrap(), 1);
        let notice = test.lease_delivery(at(2)).await.unwrap();
        test.store.delivered(&notice, at(2), "250").await.unwrap();
        let reply = test.lease_delivery(at(2)).await.unwrap();
        let expected = mail::compose_late_notice_before(&reply.message, at(2));
        assert_eq!(notice.message, expected);
        assert_ne!(notice.message, reply.message);
        assert_eq!(notice.reverse_path, reply.reverse_path);
    }

    #[tokio::test]
    async fn only_the_first_of_many_postponements_is_audited() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        for attempt in 1..4 {
            let leased = test.lease_delivery(at(60 * attempt)).await.unwrap();
            let until = at(60 * (attempt + 1));
            let now = at(60 * attempt);
            assert!(
                test.store
                    .postpone_delivery(&leased.token, Postponement::plain(now, until, "451"))
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        let events: Vec<_> = test
            .events()
            .await
            .into_iter()
            .map(|(event, _)| event)
            .collect();
        assert_eq!(
            events,
            [Event::Accepted, Event::Completed, Event::Postponed]
        );
    }

    #[tokio::test]
    async fn who_waits_for_the_port_is_told_of_each_late_reply_once() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example", "c@d.example"]).await;
        reply(&test, 2, &["a@b.example"]).await;
        reply(&test, 30, &["e@f.example"]).await;
        let store = &test.store;
        // One that is in work is not overtaken by its notice.
        let in_work = test.lease_delivery(at(31)).await.unwrap();
        assert_eq!(in_work.target, "a@b.example");
        let notify = async || store.notify_late(at(32), at(9)).await.unwrap();
        assert_eq!(notify().await, 2);
        assert_eq!(notify().await, 0);
        let released = store.release_delivery(&in_work.token, at(33));
        assert!(released.await.unwrap());
        assert_eq!(notify().await, 1);

        let mut of_first_target = Vec::new();
        while let Some(next) = test.lease_delivery(at(34)).await {
            assert!(store.delivered(&next, at(34), "250").await.unwrap());
            if next.target == "a@b.example" {
                of_first_target.push((next.request_id, next.is_notice));
            }
        }
        let expected = [(1, true), (1, false), (2, true), (2, false)];
        assert_eq!(
            of_first_target,
            expected.map(|(number, is)| (id(number), is))
        );
        assert_eq!(store.spool_usage().await.unwrap(), SpoolUsage::default());
    }

    #[tokio::test]
    async fn who_waits_for_too_long_is_given_up_with_an_entry() {
        let test = TestStore::new().await;
        for number in [1, 2, 30] {
            reply(&test, number, &[&format!("a{number}@b.example")]).await;
        }
        let store = &test.store;
        let in_work = test.lease_delivery(at(31)).await.unwrap();
        assert_eq!(in_work.request_id, id(1));
        let give_up = async || {
            store
                .give_up_deliveries(at(29), at(32), "nobody listens")
                .await
        };
        let expected = GivenUp {
            request_id: id(2),
            queue_id: request(2).queue_id,
            target: "a2@b.example".to_owned(),
        };
        assert_eq!(give_up().await.unwrap(), [expected]);
        assert_eq!(give_up().await.unwrap(), []);
        let entry = test.last_entry().await;
        assert_eq!(
            (entry.event, entry.detail.as_deref(), entry.attempts),
            (Event::Undeliverable, Some("nobody listens"), Some(0))
        );
        assert_eq!(store.spool_usage().await.unwrap().replies, 2);
    }
}
