//! Finished replies on their way, each target by itself.

use jiff::Timestamp;
use sqlx::QueryBuilder;
use sqlx::Row;
use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::types::Text;

use super::acquaintance;
use super::columns::{Moment, text};
use super::error::Failure;
use super::intent::{Changes, Intent};
use super::leases;
use super::throttle;
use super::troubles::{self, Of};
use super::values::{FinishedReply, LeaseToken, LeasedDelivery, Leasing};
use super::wait::Wait;
use crate::audit::{Entry, Event};
use crate::kms::RequestId;
use crate::mail::NoticeCode;
use crate::policy::Requester;

/// The request that a reply is for.
#[derive(Clone, Copy)]
pub(super) struct Answered<'a> {
    pub(super) request: RequestId,
    pub(super) queue_id: &'a str,
    pub(super) accepted_at: Timestamp,
    pub(super) requester: Requester,
    /// Its client's network.
    pub(super) network: Option<&'a str>,
    pub(super) kind: ReplyKind,
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyKind {
    /// The final result: success.
    Success,
    /// The final result: an error.
    Error,
    /// That the result comes later.
    Notice,
}

impl ReplyKind {
    /// Of a final result, by the word that the audit log has for it.
    pub(super) fn of_result(result: Option<&str>) -> Self {
        match result {
            Some("Success") => Self::Success,
            _ => Self::Error,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Notice => "notice",
        }
    }
}

/// Puts a finished reply on its way. One without targets has none to go.
pub(super) async fn insert(
    reply: &FinishedReply,
    of: Answered<'_>,
    at: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<(), sqlx::Error> {
    if reply.targets.is_empty() {
        return Ok(());
    }
    let row = insert_message(reply, of, at, changes.connection).await?;
    let mut deliveries = QueryBuilder::<Sqlite>::new(
        "INSERT OR IGNORE INTO deliveries (reply, target, waits_since, waits_until) ",
    );
    deliveries.push_values(&reply.targets, |mut values, target| {
        values
            .push_bind(row)
            .push_bind(target)
            .push_bind(Moment(at))
            .push_bind(Moment(at));
    });
    deliveries.build().execute(&mut *changes.connection).await?;
    changes.due.deliveries += reply.targets.len();
    Ok(())
}

async fn insert_message(
    reply: &FinishedReply,
    of: Answered<'_>,
    at: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<i64, sqlx::Error> {
    let late_notice = reply.late_notice.as_deref();
    let size = reply.message.len() + late_notice.map_or(0, <[u8]>::len);
    let inserted = sqlx::query(
        "INSERT INTO replies (request_id, queue_id, accepted_at, completed_at, reverse_path,
             size, message, late_notice, requester, network, kind, sender, sender_path, client)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
             (SELECT sender FROM requests WHERE id = ?1),
             (SELECT reverse_path FROM requests WHERE id = ?1),
             (SELECT client FROM requests WHERE id = ?1))",
    )
    .bind(Text(of.request))
    .bind(of.queue_id)
    .bind(Moment(of.accepted_at))
    .bind(Moment(at))
    .bind(&reply.reverse_path)
    .bind(size as i64)
    .bind(reply.message.as_slice())
    .bind(late_notice)
    .bind(of.requester.as_str())
    .bind(of.network)
    .bind(of.kind.as_str())
    .execute(connection)
    .await?;
    Ok(inserted.last_insert_rowid())
}

/// The entry that somebody was told.
pub(super) fn told(entry: Entry) -> Entry {
    Entry {
        result: Some("Notice".to_owned()),
        code: Some(NoticeCode::Deferred.to_string()),
        ..entry
    }
}

/// Leases the oldest delivery that is due.
pub(super) struct LeaseDelivery(pub(super) Leasing<LeasedDelivery>);

impl Intent for LeaseDelivery {
    type Answer = Option<LeasedDelivery>;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Option<LeasedDelivery>, Failure> {
        while let Some(leased) = self.lease(changes.connection).await? {
            let row: i64 = leased.try_get("sequence")?;
            if self.0.is_in_work(row) {
                leases::leave_to_its_holder::<LeasedDelivery>(row, changes.connection).await?;
                continue;
            }
            let attempts: u32 = leased.try_get("attempts")?;
            return Ok(Some(LeasedDelivery {
                token: LeaseToken::new(row, attempts),
                request_id: text(&leased, "request_id")?,
                queue_id: leased.try_get("queue_id")?,
                target: leased.try_get("target")?,
                reverse_path: leased.try_get("reverse_path")?,
                message: leased.try_get("message")?,
                accepted_at: leased.try_get::<Moment, _>("accepted_at")?.0,
                completed_at: leased.try_get::<Moment, _>("completed_at")?.0,
                can_be_told: leased.try_get("can_be_told")?,
                attempts,
            }));
        }
        Ok(None)
    }
}

impl LeaseDelivery {
    async fn lease(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<SqliteRow>, sqlx::Error> {
        let wait = Wait::of(self.0.now, self.0.hold);
        sqlx::query(
            "UPDATE deliveries SET attempts = attempts + 1, waits_since = ?1, waits_until = ?2
             WHERE sequence = coalesce(
                 (SELECT sequence FROM deliveries WHERE turn = 1 AND waits_until <= ?1
                  ORDER BY waits_until, sequence LIMIT 1),
                 (SELECT sequence FROM deliveries WHERE turn = 1 AND waits_since > ?3
                  ORDER BY waits_since, sequence LIMIT 1))
             RETURNING sequence, target, attempts,
                 (SELECT request_id FROM replies WHERE sequence = reply) AS request_id,
                 (SELECT queue_id FROM replies WHERE sequence = reply) AS queue_id,
                 (SELECT accepted_at FROM replies WHERE sequence = reply) AS accepted_at,
                 (SELECT completed_at FROM replies WHERE sequence = reply) AS completed_at,
                 (SELECT reverse_path FROM replies WHERE sequence = reply) AS reverse_path,
                 (SELECT message FROM replies WHERE sequence = reply) AS message,
                 told = 0 AND (SELECT late_notice IS NOT NULL FROM replies WHERE sequence = reply)
                     AS can_be_told",
        )
        .bind(wait.since)
        .bind(wait.until)
        .bind(wait.clock_was_set_back)
        .fetch_optional(connection)
        .await
    }
}

/// A delivery whose lease is held.
struct Held {
    request_id: RequestId,
    queue_id: String,
    target: String,
    put_off_before: bool,
}

impl Held {
    /// None if the lease has passed to another.
    async fn by(
        token: LeaseToken<LeasedDelivery>,
        connection: &mut SqliteConnection,
    ) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT request_id, queue_id, target, EXISTS (
                 SELECT 1 FROM delivery_troubles WHERE delivery = deliveries.sequence
             ) AS put_off_before
             FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
             WHERE deliveries.sequence = ? AND attempts = ?",
        )
        .bind(token.row)
        .bind(token.lease)
        .fetch_optional(connection)
        .await?;
        row.map(|row| {
            Ok(Self {
                request_id: text(&row, "request_id")?,
                queue_id: row.try_get("queue_id")?,
                target: row.try_get("target")?,
                put_off_before: row.try_get("put_off_before")?,
            })
        })
        .transpose()
    }

    fn entry(&self, at: Timestamp, event: Event) -> Entry {
        entry(self.request_id, &self.queue_id, &self.target, at, event)
    }
}

/// An entry of what became of a reply for one target.
fn entry(
    request_id: RequestId,
    queue_id: &str,
    target: &str,
    at: Timestamp,
    event: Event,
) -> Entry {
    let mut entry = Entry::new(at, event);
    entry.request_id = Some(request_id.to_string());
    entry.queue_id = Some(queue_id.to_owned());
    entry.target = Some(target.to_owned());
    entry
}

/// Takes a delivery out, and with its last delivery the reply. False if it is gone.
async fn remove(row: i64, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query("DELETE FROM deliveries WHERE sequence = ?")
        .bind(row)
        .execute(connection)
        .await?;
    Ok(removed.rows_affected() > 0)
}

/// Remembers that the target of a delivery was answered, and whether it proved to
/// be who it is. A notice is no answer.
async fn remember(row: i64, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let answered = sqlx::query(
        "SELECT target, requester, network, kind
         FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
         WHERE deliveries.sequence = ? AND kind != 'notice'",
    )
    .bind(row)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(answered) = answered else {
        return Ok(());
    };
    let network: Option<String> = answered.try_get("network")?;
    let requester: Requester = text(&answered, "requester")?;
    let kind: &str = answered.try_get("kind")?;
    let is_verified = requester == Requester::Verified && kind == ReplyKind::Success.as_str();
    let verified_from = is_verified.then(|| network.unwrap_or_default());
    let target: &str = answered.try_get("target")?;
    acquaintance::remember(target, verified_from.as_deref(), throttle::KEPT, connection).await
}

/// Ends a delivery: Postfix has the reply. A lease that has passed on changes
/// nothing in that, and who holds it finds nothing left to do. Nor does an end
/// before this one: the log says what Postfix has.
pub(super) struct Delivered {
    row: i64,
    entry: Entry,
}

impl Delivered {
    pub(super) fn new(leased: &LeasedDelivery, at: Timestamp, detail: &str) -> Self {
        let (queue_id, target) = (&leased.queue_id, &leased.target);
        let mut entry = entry(leased.request_id, queue_id, target, at, Event::Delivered);
        entry.detail = Some(detail.to_owned());
        entry.attempts = Some(leased.attempts);
        Self {
            row: leased.token.row,
            entry,
        }
    }
}

impl Intent for Delivered {
    type Answer = bool;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<bool, Failure> {
        remember(self.row, changes.connection).await?;
        let ended = remove(self.row, changes.connection).await?;
        changes.audit(self.entry).await?;
        Ok(ended)
    }
}

/// Ends a delivery that Postfix doesn't take.
pub(super) struct Undeliverable {
    pub(super) token: LeaseToken<LeasedDelivery>,
    pub(super) at: Timestamp,
    pub(super) detail: String,
}

impl Intent for Undeliverable {
    type Answer = bool;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<bool, Failure> {
        let Some(held) = Held::by(self.token, changes.connection).await? else {
            return Ok(false);
        };
        remove(self.token.row, changes.connection).await?;
        let mut entry = held.entry(self.at, Event::Undeliverable);
        entry.detail = Some(self.detail);
        entry.attempts = Some(self.token.lease);
        changes.audit(entry).await?;
        Ok(true)
    }
}

/// Gives a delivery back for a time.
pub(super) struct PostponeDelivery {
    pub(super) token: LeaseToken<LeasedDelivery>,
    pub(super) at: Timestamp,
    pub(super) until: Timestamp,
    pub(super) reason: String,
    /// Requests accepted by then are late.
    pub(super) late_if_by: Timestamp,
}

impl PostponeDelivery {
    /// Puts its notice before each late reply to this target, unless the target
    /// knows or there is none. Tells how many notices.
    async fn tell(&self, held: &Held, changes: &mut Changes<'_>) -> Result<usize, Failure> {
        let late = sqlx::query(
            "SELECT deliveries.sequence, place, request_id, queue_id, accepted_at, reverse_path,
                 late_notice, requester, network
             FROM deliveries JOIN replies ON replies.sequence = deliveries.reply
             WHERE target = ? AND told = 0 AND late_notice IS NOT NULL AND accepted_at <= ?
             ORDER BY place",
        )
        .bind(&held.target)
        .bind(Moment(self.late_if_by))
        .fetch_all(&mut *changes.connection)
        .await?;
        for row in &late {
            let notice = FinishedReply {
                message: row.try_get("late_notice")?,
                reverse_path: row.try_get("reverse_path")?,
                targets: vec![held.target.clone()],
                late_notice: None,
            };
            let queue_id: String = row.try_get("queue_id")?;
            let network: Option<String> = row.try_get("network")?;
            let of = Answered {
                request: text(row, "request_id")?,
                queue_id: &queue_id,
                accepted_at: row.try_get::<Moment, _>("accepted_at")?.0,
                requester: text(row, "requester")?,
                network: network.as_deref(),
                kind: ReplyKind::Notice,
            };
            let reply = insert_message(&notice, of, self.at, changes.connection).await?;
            self.put_before(reply, row, &held.target, changes.connection)
                .await?;
            let mut entry = Entry::new(self.at, Event::Postponed);
            entry.request_id = Some(of.request.to_string());
            entry.queue_id = Some(queue_id);
            entry.target = Some(held.target.clone());
            changes.audit(told(entry)).await?;
        }
        Ok(late.len())
    }

    /// The delivery of a late reply gives its turn to that of its notice.
    async fn put_before(
        &self,
        notice: i64,
        late: &SqliteRow,
        target: &str,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE deliveries SET turn = 0, told = 1 WHERE sequence = ?")
            .bind(late.try_get::<i64, _>("sequence")?)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "INSERT INTO deliveries (reply, target, waits_since, waits_until, place)
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(notice)
        .bind(target)
        .bind(Moment(self.at))
        .bind(Moment(self.until))
        .bind(late.try_get::<i64, _>("place")? - 1)
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Intent for PostponeDelivery {
    type Answer = Option<usize>;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Option<usize>, Failure> {
        let Some(held) = Held::by(self.token, changes.connection).await? else {
            return Ok(None);
        };
        sqlx::query("UPDATE deliveries SET waits_since = ?, waits_until = ? WHERE sequence = ?")
            .bind(Moment(self.at))
            .bind(Moment(self.until))
            .bind(self.token.row)
            .execute(&mut *changes.connection)
            .await?;
        let (of, attempt) = (Of::Delivery(self.token.row), self.token.lease);
        troubles::note(of, attempt, self.at, &self.reason, changes.connection).await?;
        // An outage costs the audit log one entry for each delivery.
        if !held.put_off_before {
            let mut entry = held.entry(self.at, Event::Postponed);
            entry.reason = Some(self.reason.clone());
            changes.audit(entry).await?;
        }
        self.tell(&held, changes).await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::{HOLD, TestStore, at, completion, id, request};
    use super::super::{SpoolUsage, Store};
    use super::*;

    /// Takes request `number` to a reply for these targets.
    async fn reply(test: &TestStore, number: u8, targets: &[&str]) {
        test.store.accept(request(number)).await.unwrap();
        let leased = test.lease(at(number.into())).await.unwrap();
        let completion = completion(at(number.into()), targets);
        test.store
            .complete(&leased.token, completion)
            .await
            .unwrap();
    }

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
        let told: Vec<_> = entries
            .iter()
            .map(|entry| (entry.event, entry.target.as_deref()))
            .collect();
        assert_eq!(
            told,
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
        assert_eq!(test.store.next_due().await.unwrap(), Some(at(2) + HOLD));
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
                .postpone_delivery(&late.token, at(9), at(99), "451", Timestamp::MIN)
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

        // Whatever the other attempt comes to, it is not repeated.
        let (token, at) = (&holder.token, at(10));
        assert!(!store.undeliverable(token, at, "550").await.unwrap());
        let put_off = store.postpone_delivery(token, at, at + HOLD, "451", Timestamp::MIN);
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

    #[tokio::test]
    async fn a_target_gets_its_replies_in_order() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        reply(&test, 2, &["a@b.example", "c@d.example"]).await;
        let first = test.lease_delivery(at(3)).await.unwrap();
        assert_eq!(first.request_id, id(1));
        assert_eq!(
            test.lease_delivery(at(3)).await.unwrap().target,
            "c@d.example"
        );
        test.store
            .postpone_delivery(&first.token, at(3), at(60), "451", Timestamp::MIN)
            .await
            .unwrap();
        assert!(test.lease_delivery(at(59)).await.is_none());
        let first = test.lease_delivery(at(60)).await.unwrap();
        assert_eq!((first.request_id, first.attempts), (id(1), 2));
        test.store.delivered(&first, at(60), "250").await.unwrap();
        assert_eq!(test.lease_delivery(at(60)).await.unwrap().request_id, id(2));
    }

    #[tokio::test]
    async fn a_late_reply_comes_after_its_notice_and_the_notice_once() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example", "c@d.example"]).await;
        reply(&test, 2, &["a@b.example"]).await;
        let first = test.lease_delivery(at(3)).await.unwrap();
        assert_eq!(
            (first.target.as_str(), first.can_be_told),
            ("a@b.example", true)
        );
        assert_eq!(first.accepted_at, request(1).accepted_at);
        let put_off = async |token: &LeaseToken<LeasedDelivery>, late_if_by| {
            test.store
                .postpone_delivery(token, at(3), at(60), "451", late_if_by)
                .await
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
            assert_eq!(next.message == b"Subject: late\r\n\r\n", is_notice);
            assert!(!next.can_be_told);
            // Put off again, nobody is told again.
            assert_eq!(put_off(&next.token, at(99)).await.unwrap(), Some(0));
            let next = test.lease_delivery(at(60)).await.unwrap();
            test.store.delivered(&next, at(61), "250").await.unwrap();
        }
        assert!(test.lease_delivery(at(62)).await.is_none());
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
                    .postpone_delivery(&leased.token, now, until, "451", Timestamp::MIN)
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
    async fn a_clock_set_back_makes_nobody_wait_for_it() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        test.lease_delivery(at(3600)).await.unwrap();
        assert_eq!(test.lease_delivery(at(1)).await.unwrap().attempts, 2);
    }
}
