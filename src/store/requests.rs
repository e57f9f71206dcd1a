//! The requests in the spool, from lease to final result.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::types::Text;

use super::{
    columns::{Moment, text},
    deliveries::{self, Answered, ReplyKind},
    error::Failure,
    intent::{Changes, Intent},
    kms_issues, leases,
    troubles::{self, Of},
    values::{
        Completed, Completion, FinishedReply, First, LeaseToken, LeasedRequest, Leasing,
        WaitingRequest,
    },
    wait::Wait,
};
use crate::{
    audit::{Entry, Event},
    faults::{self, FaultPoint},
    policy::Requester,
    request_id::RequestId,
};

/// When the next request falls due, or the lease of one ends.
pub(super) async fn next_due(
    connection: &mut SqliteConnection,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let next: Option<Moment> =
        sqlx::query_scalar("SELECT min(waits_until) FROM requests WHERE turn = 1")
            .fetch_one(connection)
            .await?;
    Ok(next.map(|Moment(time)| time))
}

/// Leases the request of this order among those that are due, of those that are
/// verified before the others: strangers delay none of them.
macro_rules! lease {
    ($order:literal) => {
        concat!(
            "UPDATE requests SET attempts = attempts + 1, waits_since = ?1, waits_until = ?2
             WHERE sequence = coalesce(
                 (SELECT sequence FROM requests
                  WHERE turn = 1 AND requester = 'verified' AND waits_until <= ?1
                  ORDER BY ",
            $order,
            " LIMIT 1),
                 (SELECT sequence FROM requests WHERE turn = 1 AND waits_until <= ?1
                  ORDER BY ",
            $order,
            " LIMIT 1),
                 (SELECT sequence FROM requests WHERE turn = 1 AND waits_since > ?3
                  ORDER BY waits_since, sequence LIMIT 1))
             RETURNING sequence, id, accepted_at, queue_id, reverse_path, attempts, told,
                 requester, targets,
                 (SELECT message FROM request_messages WHERE request = sequence) AS message"
        )
    };
}

/// Leases a request that is due.
pub(super) struct Lease(pub(super) Leasing<LeasedRequest>);

impl Intent for Lease {
    type Answer = Option<LeasedRequest>;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Option<LeasedRequest>, Failure> {
        while let Some(leased) = self.lease(changes.connection).await? {
            let row: i64 = leased.try_get("sequence")?;
            if self.0.is_in_work(row) {
                leases::leave_to_its_holder::<LeasedRequest>(row, changes.connection).await?;
                continue;
            }
            let attempts: u32 = leased.try_get("attempts")?;
            return Ok(Some(LeasedRequest {
                token: LeaseToken::new(row, attempts),
                id: text(&leased, "id")?,
                accepted_at: leased.try_get::<Moment, _>("accepted_at")?.0,
                queue_id: leased.try_get("queue_id")?,
                reverse_path: leased.try_get("reverse_path")?,
                attempts,
                told: leased.try_get("told")?,
                requester: text(&leased, "requester")?,
                targets: targets(&leased)?,
                message: leased.try_get("message")?,
            }));
        }
        Ok(None)
    }
}

impl Lease {
    async fn lease(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<SqliteRow>, sqlx::Error> {
        let wait = Wait::of(self.0.now, self.0.hold);
        let statement = match self.0.first {
            First::Oldest => lease!("waits_until, sequence"),
            First::Newest => lease!("waits_until DESC, sequence DESC"),
        };
        sqlx::query(statement)
            .bind(wait.since)
            .bind(wait.until)
            .bind(wait.clock_was_set_back)
            .fetch_optional(connection)
            .await
    }
}

/// A request whose lease is held.
struct Held {
    id: RequestId,
    queue_id: String,
    accepted_at: Timestamp,
    put_off_before: bool,
    told: bool,
    requester: Requester,
    network: Option<String>,
}

impl Held {
    /// None if the lease has passed to another.
    async fn by(
        token: LeaseToken<LeasedRequest>,
        connection: &mut SqliteConnection,
    ) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT id, queue_id, accepted_at, told, requester, network, EXISTS (
                 SELECT 1 FROM request_troubles WHERE request = sequence) AS put_off_before
             FROM requests WHERE sequence = ? AND attempts = ?",
        )
        .bind(token.row)
        .bind(token.lease)
        .fetch_optional(connection)
        .await?;
        row.map(|row| {
            Ok(Self {
                id: text(&row, "id")?,
                queue_id: row.try_get("queue_id")?,
                accepted_at: row.try_get::<Moment, _>("accepted_at")?.0,
                put_off_before: row.try_get("put_off_before")?,
                told: row.try_get("told")?,
                requester: text(&row, "requester")?,
                network: row.try_get("network")?,
            })
        })
        .transpose()
    }
}

/// Commits a request's final result.
pub(super) struct Complete {
    pub(super) token: LeaseToken<LeasedRequest>,
    pub(super) completion: Completion,
}

impl Intent for Complete {
    type Answer = Completed;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<Completed, Failure> {
        let Self {
            token,
            completion:
                Completion {
                    at,
                    reply,
                    effects,
                    mut audit,
                },
        } = self;
        let Some(held) = Held::by(token, changes.connection).await? else {
            return Ok(Completed::LeaseLost);
        };
        if !kms_issues::record(&effects, held.id, at, changes).await? {
            return Ok(Completed::BasisChanged);
        }
        if let Some(mut reply) = reply {
            // Whoever may never have asked gets the answer, and no word before it.
            let is_told_of = !held.told && !held.requester.may_be_forged();
            reply.late_notice = reply.late_notice.filter(|_| is_told_of);
            let of = Answered {
                request: held.id,
                queue_id: &held.queue_id,
                accepted_at: held.accepted_at,
                requester: held.requester,
                network: held.network.as_deref(),
                kind: ReplyKind::of_result(audit.result.as_deref()),
            };
            deliveries::insert(&reply, of, at, changes).await?;
        }
        sqlx::query("DELETE FROM requests WHERE sequence = ?")
            .bind(token.row)
            .execute(&mut *changes.connection)
            .await?;
        audit.event = Event::Completed;
        audit.queue_id = Some(held.queue_id);
        audit.request_id = Some(held.id.to_string());
        audit.attempts = Some(token.lease);
        changes.audit(audit).await?;
        faults::pass(FaultPoint::BeforeCompletionCommit);
        Ok(Completed::Committed)
    }
}

/// Gives a request back for a time.
pub(super) struct Postpone {
    pub(super) token: LeaseToken<LeasedRequest>,
    pub(super) at: Timestamp,
    pub(super) until: Timestamp,
    pub(super) reason: String,
}

impl Intent for Postpone {
    type Answer = bool;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<bool, Failure> {
        let Some(held) = Held::by(self.token, changes.connection).await? else {
            return Ok(false);
        };
        sqlx::query("UPDATE requests SET waits_since = ?, waits_until = ? WHERE sequence = ?")
            .bind(Moment(self.at))
            .bind(Moment(self.until))
            .bind(self.token.row)
            .execute(&mut *changes.connection)
            .await?;
        let (of, attempt) = (Of::Request(self.token.row), self.token.lease);
        troubles::note(of, attempt, self.at, &self.reason, changes.connection).await?;
        // An outage costs the audit log one entry for each request.
        if !held.put_off_before {
            let mut entry = Entry::new(self.at, Event::Postponed);
            entry.queue_id = Some(held.queue_id);
            entry.request_id = Some(held.id.to_string());
            entry.reason = Some(self.reason);
            changes.audit(entry).await?;
        }
        Ok(true)
    }
}

/// The requests of the sender of `like` of which he is to be told.
pub(super) async fn untold(
    connection: &mut SqliteConnection,
    like: RequestId,
    accepted_by: Timestamp,
) -> Result<Vec<WaitingRequest>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, requester, targets, message FROM requests
         JOIN request_messages ON request_messages.request = requests.sequence
         WHERE sender = (SELECT sender FROM requests WHERE id = ?)
             AND told = 0 AND accepted_at <= ?
         ORDER BY sequence",
    )
    .bind(Text(like))
    .bind(Moment(accepted_by))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(WaitingRequest {
                id: text(row, "id")?,
                requester: text(row, "requester")?,
                targets: targets(row)?,
                message: row.try_get("message")?,
            })
        })
        .collect()
}

/// The addresses that are answered.
fn targets(row: &SqliteRow) -> Result<Vec<String>, sqlx::Error> {
    let text: String = row.try_get("targets")?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Tells the sender of a request that it waits.
pub(super) struct Tell {
    pub(super) request: RequestId,
    pub(super) at: Timestamp,
    pub(super) notice: FinishedReply,
}

impl Intent for Tell {
    type Answer = bool;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<bool, Failure> {
        let waiting = sqlx::query(
            "UPDATE requests SET told = 1 WHERE id = ? AND told = 0
             RETURNING queue_id, accepted_at, requester, network",
        )
        .bind(Text(self.request))
        .fetch_optional(&mut *changes.connection)
        .await?;
        let Some(waiting) = waiting else {
            return Ok(false);
        };
        let requester: Requester = text(&waiting, "requester")?;
        if requester.may_be_forged() {
            // One notice serves for all that may be forged in the same name.
            sqlx::query(
                "UPDATE requests SET told = 1 WHERE requester IN ('answered', 'newcomer')
                 AND target = (SELECT target FROM requests WHERE id = ?)",
            )
            .bind(Text(self.request))
            .execute(&mut *changes.connection)
            .await?;
        }
        let queue_id: String = waiting.try_get("queue_id")?;
        let network: Option<String> = waiting.try_get("network")?;
        let of = Answered {
            request: self.request,
            queue_id: &queue_id,
            accepted_at: waiting.try_get::<Moment, _>("accepted_at")?.0,
            requester,
            network: network.as_deref(),
            kind: ReplyKind::Notice,
        };
        deliveries::insert(&self.notice, of, self.at, changes).await?;
        let entry = Entry {
            queue_id: Some(queue_id),
            request_id: Some(self.request.to_string()),
            ..Entry::new(self.at, Event::Postponed)
        };
        changes.audit(deliveries::told(entry)).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::SignedDuration;

    use super::super::testing::{HOLD, TestStore, at, completion, id, request};
    use super::super::{NewRequest, SpoolUsage, Store};
    use super::*;
    use crate::policy::Trust;

    #[tokio::test]
    async fn requests_are_leased_in_the_order_they_fall_due() {
        let test = TestStore::new().await;
        for number in [1, 2, 3] {
            test.store.accept(request(number)).await.unwrap();
        }
        for number in [1, 2, 3] {
            assert_eq!(test.lease(at(9)).await.unwrap().id, id(number));
        }
        assert!(test.lease(at(9)).await.is_none());
    }

    #[tokio::test]
    async fn a_sender_is_served_one_request_at_a_time_in_order() {
        let test = TestStore::new().await;
        for number in [1, 2] {
            let request = NewRequest {
                sender: "one".to_owned(),
                ..request(number)
            };
            test.store.accept(request).await.unwrap();
        }
        test.store.accept(request(3)).await.unwrap();

        let first = test.lease(at(9)).await.unwrap();
        assert_eq!(first.id, id(1));
        assert_eq!(test.lease(at(9)).await.unwrap().id, id(3));
        assert!(test.lease(at(9)).await.is_none());
        test.store
            .postpone(&first.token, at(9), at(60), "later")
            .await
            .unwrap();
        assert!(
            test.lease(at(59)).await.is_none(),
            "the second waits for the first"
        );

        let first = test.lease(at(60)).await.unwrap();
        assert_eq!((first.id, first.attempts), (id(1), 2));
        test.store
            .complete(&first.token, completion(at(60), &[]))
            .await
            .unwrap();
        assert_eq!(test.lease(at(60)).await.unwrap().id, id(2));
    }

    #[tokio::test]
    async fn a_lease_that_has_passed_on_is_lost_for_good() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let late = test.lease(at(1)).await.unwrap();
        let expiry = at(1) + HOLD;
        assert_eq!(test.store.next_request().await.unwrap(), Some(expiry));
        assert!(
            test.lease(expiry - SignedDuration::from_micros(1))
                .await
                .is_none()
        );

        let holder = test.lease(expiry).await.unwrap();
        assert_eq!((holder.id, holder.attempts), (id(1), 2));
        let complete = |token| {
            test.store
                .complete(token, completion(expiry, &["a@b.example"]))
        };
        assert_eq!(complete(&late.token).await.unwrap(), Completed::LeaseLost);
        assert!(
            !test
                .store
                .postpone(&late.token, expiry, at(999), "late")
                .await
                .unwrap()
        );
        assert_eq!(complete(&holder.token).await.unwrap(), Completed::Committed);
        assert_eq!(complete(&holder.token).await.unwrap(), Completed::LeaseLost);
        assert_eq!(test.store.spool_usage().await.unwrap().replies, 1);
    }

    #[tokio::test]
    async fn who_is_late_but_alone_still_completes() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        let late = at(1) + HOLD + HOLD;
        let completed = test
            .store
            .complete(&leased.token, completion(late, &[]))
            .await
            .unwrap();
        assert_eq!(completed, Completed::Committed);
    }

    #[tokio::test]
    async fn who_waits_for_long_is_told_once_of_each_request() {
        let test = TestStore::new().await;
        for number in [1, 2, 3] {
            let sender = if number == 3 { "another" } else { "one" };
            let request = NewRequest {
                sender: sender.to_owned(),
                ..request(number)
            };
            test.store.accept(request).await.unwrap();
        }
        let untold = async |by| {
            let waiting = test.store.untold_requests(id(1), at(by)).await.unwrap();
            waiting.into_iter().map(|own| own.id).collect::<Vec<_>>()
        };
        assert_eq!(untold(1).await, [id(1)]);
        assert_eq!(untold(9).await, [id(1), id(2)]);
        let notice = FinishedReply {
            message: b"Subject: late\r\n\r\n".to_vec(),
            reverse_path: String::new(),
            targets: vec!["a@b.example".to_owned()],
            late_notice: None,
        };
        let tell = async || test.store.tell(id(1), at(9), notice.clone()).await.unwrap();
        assert!(tell().await);
        assert!(!tell().await);
        assert_eq!(untold(9).await, [id(2)]);
        assert_eq!(test.store.spool_usage().await.unwrap().replies, 1);
        let told = test.lease_delivery(at(9)).await.unwrap();
        assert_eq!(
            (told.target.as_str(), told.can_be_told),
            ("a@b.example", false)
        );
        test.store.delivered(&told, at(9), "250").await.unwrap();

        // Nor is he by the reply that comes in the end.
        let leased = test.lease(at(9)).await.unwrap();
        assert!(leased.told);
        test.store
            .complete(&leased.token, completion(at(9), &["a@b.example"]))
            .await
            .unwrap();
        assert!(!test.lease_delivery(at(9)).await.unwrap().can_be_told);
        assert!(!tell().await, "it has its result");
    }

    #[tokio::test]
    async fn of_requests_that_may_be_forged_the_address_is_told_once() {
        let test = TestStore::new().await;
        for number in 1..4 {
            let request = NewRequest {
                trust: Trust::Stranger,
                targets: vec!["victim@b.example".to_owned()],
                ..request(number)
            };
            test.store.accept(request).await.unwrap();
        }
        let tell = async |number| {
            let notice = FinishedReply {
                message: b"Subject: late\r\n\r\n".to_vec(),
                reverse_path: String::new(),
                targets: vec!["victim@b.example".to_owned()],
                late_notice: None,
            };
            test.store.tell(id(number), at(9), notice).await.unwrap()
        };
        assert_eq!(
            [tell(1).await, tell(2).await, tell(3).await],
            [true, false, false]
        );
        let leased = test.lease(at(9)).await.unwrap();
        test.store
            .complete(&leased.token, completion(at(9), &["victim@b.example"]))
            .await
            .unwrap();
        while let Some(delivery) = test.lease_delivery(at(9)).await {
            assert!(!delivery.can_be_told);
            test.store.delivered(&delivery, at(9), "250").await.unwrap();
        }
    }

    #[tokio::test]
    async fn only_the_first_of_many_postponements_is_audited() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        for attempt in 1..4 {
            let leased = test.lease(at(60 * attempt)).await.unwrap();
            let until = at(60 * (attempt + 1));
            let token = &leased.token;
            assert!(
                test.store
                    .postpone(token, at(60 * attempt), until, "KMS away")
                    .await
                    .unwrap()
            );
            assert_eq!(test.store.next_request().await.unwrap(), Some(until));
        }
        let id = Some(id(1).to_string());
        assert_eq!(
            test.events().await,
            [(Event::Accepted, id.clone()), (Event::Postponed, id)]
        );
    }

    #[tokio::test]
    async fn a_clock_set_back_makes_nobody_wait_for_it() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        test.lease(at(3600)).await.unwrap();
        let just_before = at(3600) - SignedDuration::from_secs(59);
        assert!(
            test.lease(just_before).await.is_none(),
            "two clocks read in the other order"
        );
        assert_eq!(test.lease(at(1)).await.unwrap().attempts, 2);
        assert!(test.lease(at(1)).await.is_none());
    }

    #[tokio::test]
    async fn a_request_without_a_reply_leaves_nothing_to_deliver() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        let silent = Completion {
            reply: None,
            ..completion(at(1), &[])
        };
        test.store.complete(&leased.token, silent).await.unwrap();
        assert_eq!(
            test.store.spool_usage().await.unwrap(),
            SpoolUsage::default()
        );
        assert_eq!(test.store.next_request().await.unwrap(), None);
    }
}
