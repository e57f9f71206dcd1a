//! Finished replies on their way, each target by itself.

use std::net::SocketAddr;

use jiff::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::types::Text;
use sqlx::{QueryBuilder, Row};

use super::{
    acquaintance, buckets,
    columns::{Moment, text},
    error::Failure,
    intent::{Changes, Intent},
    leases, reply_port,
    values::{FinishedReply, First, GivenUp, LeaseToken, LeasedDelivery, Leasing, PortTrouble},
    wait::Wait,
};
use crate::{
    audit::{Entry, Event},
    mail::NoticeCode,
    policy::Requester,
    request_id::RequestId,
};

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
        "INSERT OR IGNORE INTO deliveries (reply, target, waits_since, waits_until, told) ",
    );
    let nothing_to_tell = reply.late_notice.is_none();
    deliveries.push_values(&reply.targets, |mut values, target| {
        values
            .push_bind(row)
            .push_bind(target)
            .push_bind(Moment(at))
            .push_bind(Moment(at))
            .push_bind(nothing_to_tell);
    });
    deliveries.build().execute(&mut *changes.connection).await?;
    changes.due.deliveries += reply.targets.len();
    Ok(())
}

/// Puts the message of a reply into the store, and nothing on its way.
pub(super) async fn insert_message(
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

/// The result of a notice, as the audit log has it.
const NOTICE: &str = "Notice";

/// The entry that somebody was told.
pub(super) fn told(entry: Entry) -> Entry {
    Entry {
        result: Some(NOTICE.to_owned()),
        code: Some(NoticeCode::Deferred.to_string()),
        ..entry
    }
}

/// Whether a worker has the delivery at ?1. One that was given back has a trouble
/// of its last attempt.
macro_rules! is_in_work {
    () => {
        "(waits_until > ?1 AND attempts > 0 AND NOT EXISTS (
             SELECT 1 FROM delivery_troubles
             WHERE delivery = deliveries.sequence AND attempt = attempts))"
    };
}

pub(super) use is_in_work;

/// When the next delivery at a port falls due, or the lease of one ends.
pub(super) async fn next_due(
    port: SocketAddr,
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let next: Option<Moment> =
        sqlx::query_scalar("SELECT min(waits_until) FROM deliveries WHERE turn = 1")
            .fetch_one(&mut *connection)
            .await?;
    let Some(Moment(next)) = next else {
        return Ok(None);
    };
    let trouble = reply_port::trouble(port, now, connection).await?;
    Ok(Some(
        trouble.map_or(next, |trouble| next.max(trouble.until)),
    ))
}

/// Leases a delivery that is due, as long as something holds.
macro_rules! lease {
    ($due:literal, $condition:literal) => {
        concat!(
            "UPDATE deliveries SET attempts = attempts + 1, waits_since = ?1, waits_until = ?2
             WHERE sequence = coalesce(
                 (SELECT sequence FROM deliveries WHERE turn = 1 AND waits_until <= ?1 ",
            $due,
            " LIMIT 1),
                 (SELECT sequence FROM deliveries WHERE turn = 1 AND waits_since > ?3
                  ORDER BY waits_since, sequence LIMIT 1))
             AND ",
            $condition,
            " RETURNING sequence, target, attempts,
                 (SELECT request_id FROM replies WHERE sequence = reply) AS request_id,
                 (SELECT queue_id FROM replies WHERE sequence = reply) AS queue_id,
                 (SELECT accepted_at FROM replies WHERE sequence = reply) AS accepted_at,
                 (SELECT completed_at FROM replies WHERE sequence = reply) AS completed_at,
                 (SELECT reverse_path FROM replies WHERE sequence = reply) AS reverse_path,
                 (SELECT message FROM replies WHERE sequence = reply) AS message,
                 (SELECT kind = 'notice' FROM replies WHERE sequence = reply) AS is_notice,
                 told = 0 AND (SELECT late_notice IS NOT NULL FROM replies WHERE sequence = reply)
                     AS can_be_told"
        )
    };
}

/// The same at a port that is in no trouble: ?4.
macro_rules! lease_at_sound_port {
    ($due:literal) => {
        lease!(
            $due,
            "NOT EXISTS (SELECT 1 FROM port_troubles WHERE port = ?4)"
        )
    };
}

/// Leases a delivery that is due, to be handed over at this port.
pub(super) struct LeaseDelivery {
    pub(super) leasing: Leasing<LeasedDelivery>,
    pub(super) port: SocketAddr,
}

impl Intent for LeaseDelivery {
    type Answer = Option<LeasedDelivery>;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Option<LeasedDelivery>, Failure> {
        while let Some((leased, trial)) = self.lease(changes.connection).await? {
            let row: i64 = leased.try_get("sequence")?;
            if self.leasing.is_in_work(row) {
                leases::leave_to_its_holder::<LeasedDelivery>(row, changes.connection).await?;
                continue;
            }
            if trial.is_some() {
                let now = self.leasing.now;
                reply_port::begin_trial(self.port, row, now, changes.connection).await?;
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
                is_notice: leased.try_get("is_notice")?,
                attempts,
                trial,
            }));
        }
        Ok(None)
    }
}

impl LeaseDelivery {
    /// A row, and the trouble that it is to try.
    async fn lease(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<(SqliteRow, Option<PortTrouble>)>, sqlx::Error> {
        let statement = match self.leasing.first {
            First::Oldest => lease_at_sound_port!("ORDER BY waits_until, sequence"),
            First::Newest => lease_at_sound_port!("ORDER BY waits_until DESC, sequence DESC"),
        };
        let leased = self.bound(statement).bind(Text(self.port));
        if let Some(row) = leased.fetch_optional(&mut *connection).await? {
            return Ok(Some((row, None)));
        }
        let now = self.leasing.now;
        let Some(trouble) = reply_port::trouble(self.port, now, connection).await? else {
            return Ok(None);
        };
        let row = self.lease_for_trial(&trouble, connection).await?;
        Ok(row.map(|row| (row, Some(trouble))))
    }

    async fn lease_for_trial(
        &self,
        trouble: &PortTrouble,
        connection: &mut SqliteConnection,
    ) -> Result<Option<SqliteRow>, sqlx::Error> {
        if trouble.is_being_tried {
            return Ok(None);
        }
        if trouble.until <= self.leasing.now {
            // The least tried first: one address that the site refuses would be tried
            // again and again otherwise, and hold up those that it takes.
            let statement = match self.leasing.first {
                First::Oldest => lease!("ORDER BY attempts, waits_until, sequence", "true"),
                First::Newest => {
                    lease!("ORDER BY attempts, waits_until DESC, sequence DESC", "true")
                }
            };
            return self.bound(statement).fetch_optional(connection).await;
        }
        if !trouble.refuses {
            return Ok(None);
        }
        self.bound(lease!(
            "AND attempts = 0 AND waits_since >= ?4 ORDER BY waits_since, sequence",
            "attempts = 0"
        ))
        .bind(Moment(trouble.tried_at))
        .fetch_optional(connection)
        .await
    }

    fn bound(&self, statement: &'static str) -> Query<'static, Sqlite, SqliteArguments> {
        let wait = Wait::of(self.leasing.now, self.leasing.hold);
        sqlx::query(statement)
            .bind(wait.since)
            .bind(wait.until)
            .bind(wait.clock_was_set_back)
    }
}

/// A delivery whose lease is held.
pub(super) struct Held {
    request_id: RequestId,
    queue_id: String,
    pub(super) target: String,
    pub(super) put_off_before: bool,
    is_notice: bool,
}

impl Held {
    /// None if the lease has passed to another.
    pub(super) async fn by(
        token: LeaseToken<LeasedDelivery>,
        connection: &mut SqliteConnection,
    ) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT request_id, queue_id, target, EXISTS (
                 SELECT 1 FROM delivery_troubles WHERE delivery = deliveries.sequence
             ) AS put_off_before, kind = 'notice' AS is_notice
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
                is_notice: row.try_get("is_notice")?,
            })
        })
        .transpose()
    }

    pub(super) fn entry(&self, at: Timestamp, event: Event) -> Entry {
        entry(self.request_id, &self.queue_id, &self.target, at, event)
    }
}

/// An entry of what became of a reply for one target.
pub(super) fn entry(
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

/// The result that the entry of a delivery's end names. That of a final reply
/// stands in the entry of its completion.
fn result_of(is_notice: bool) -> Option<String> {
    is_notice.then(|| NOTICE.to_owned())
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
    acquaintance::remember(target, verified_from.as_deref(), buckets::KEPT, connection).await
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
        entry.result = result_of(leased.is_notice);
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
        entry.result = result_of(held.is_notice);
        entry.detail = Some(self.detail);
        entry.attempts = Some(self.token.lease);
        changes.audit(entry).await?;
        Ok(true)
    }
}

/// Gives a delivery back that was not offered to Postfix.
pub(super) struct ReleaseDelivery {
    pub(super) token: LeaseToken<LeasedDelivery>,
    pub(super) at: Timestamp,
}

impl Intent for ReleaseDelivery {
    type Answer = bool;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<bool, Failure> {
        // Behind the others that are due: it may be its own fault after all.
        let released = sqlx::query(
            "UPDATE deliveries SET attempts = attempts - 1, waits_since = ?1, waits_until = ?1
             WHERE sequence = ?2 AND attempts = ?3",
        )
        .bind(Moment(self.at))
        .bind(self.token.row)
        .bind(self.token.lease)
        .execute(&mut *changes.connection)
        .await?;
        Ok(released.rows_affected() > 0)
    }
}

/// How many deliveries one transaction ends.
const GIVEN_UP_AT_ONCE: u32 = 50;

/// Ends deliveries that wait, of replies that were completed long ago.
pub(super) struct GiveUp {
    pub(super) completed_before: Timestamp,
    pub(super) at: Timestamp,
    pub(super) reason: String,
}

impl Intent for GiveUp {
    type Answer = Vec<GivenUp>;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Vec<GivenUp>, Failure> {
        // By the age of the request, which has an index and is no less than that
        // of the reply.
        let rows = sqlx::query(concat!(
            "SELECT deliveries.sequence, request_id, queue_id, target, attempts
             FROM replies CROSS JOIN deliveries ON deliveries.reply = replies.sequence
             WHERE accepted_at < ?2 AND completed_at < ?2 AND NOT ",
            is_in_work!(),
            " LIMIT ?3"
        ))
        .bind(Moment(self.at))
        .bind(Moment(self.completed_before))
        .bind(GIVEN_UP_AT_ONCE)
        .fetch_all(&mut *changes.connection)
        .await?;
        let mut given_up = Vec::with_capacity(rows.len());
        for row in rows {
            let (request_id, at) = (text(&row, "request_id")?, self.at);
            let queue_id: String = row.try_get("queue_id")?;
            let target: String = row.try_get("target")?;
            remove(row.try_get("sequence")?, changes.connection).await?;
            let mut entry = entry(request_id, &queue_id, &target, at, Event::Undeliverable);
            entry.detail = Some(self.reason.clone());
            entry.attempts = Some(row.try_get("attempts")?);
            changes.audit(entry).await?;
            given_up.push(GivenUp {
                request_id,
                queue_id,
                target,
            });
        }
        Ok(given_up)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::{HOLD, PORT, TestStore, at, completion, id, reply};
    use super::super::{Postponement, SpoolUsage, Store};
    use super::*;

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
        assert_eq!(
            test.store.next_delivery(PORT, at(2)).await.unwrap(),
            Some(at(2) + HOLD)
        );
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

        // Whatever the other attempt comes to, it is not repeated.
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
            .postpone_delivery(&first.token, Postponement::plain(at(3), at(60), "451"))
            .await
            .unwrap();
        assert!(test.lease_delivery(at(59)).await.is_none());
        let first = test.lease_delivery(at(60)).await.unwrap();
        assert_eq!((first.request_id, first.attempts), (id(1), 2));
        test.store.delivered(&first, at(60), "250").await.unwrap();
        assert_eq!(test.lease_delivery(at(60)).await.unwrap().request_id, id(2));
    }

    #[tokio::test]
    async fn a_clock_set_back_makes_nobody_wait_for_it() {
        let test = TestStore::new().await;
        reply(&test, 1, &["a@b.example"]).await;
        test.lease_delivery(at(3600)).await.unwrap();
        assert_eq!(test.lease_delivery(at(1)).await.unwrap().attempts, 2);
    }
}
