//! Taking requests into the spool, within its bounds and each message once.

use std::net::IpAddr;

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use sqlx::types::Text;

use super::{
    acquaintance::Acquaintance,
    audit_counts, buckets,
    columns::Moment,
    deliveries::{self, Answered, ReplyKind},
    error::Failure,
    intent::{Changes, Intent},
    room, shares,
    throttle::{self, Later, Turn},
    values::{Accepted, NewRequest, SpoolUsage, rule_of},
};
use crate::{
    audit::Event,
    faults::{self, FaultPoint},
    policy::{Requester, RuleName, Trust, Verdict},
    request_id::RequestId,
};

impl Intent for NewRequest {
    type Answer = Accepted;

    async fn apply(mut self, changes: &mut Changes<'_>) -> Result<Accepted, Failure> {
        room::require(self.message.len(), changes).await?;
        self.audit.queue_id = Some(self.queue_id.clone());
        if let Some(original) = accepted_before(&self, changes.connection).await? {
            self.audit.event = Event::Duplicate;
            self.audit.request_id = Some(original.to_string());
            self.note(changes).await?;
            return Ok(Accepted::Duplicate(original));
        }
        let now = self.accepted_at;
        let of_first = self.acquaintance(changes.connection).await?;
        let requester = of_first.requester(self.trust, self.network);
        shares::require(
            requester,
            self.network,
            self.message.len(),
            changes.settings,
            changes.connection,
        )
        .await?;
        match throttle::charge(&self, &of_first, buckets::KEPT, changes.connection).await? {
            Turn::Now => {
                let waits = Waits {
                    due: now,
                    told: false,
                    requester,
                };
                self.take(waits, changes).await?;
                Ok(Accepted::New)
            }
            Turn::Later(later) => {
                let accepted = Accepted::Deferred {
                    until: later.until,
                    notice: later.notice,
                };
                self.put_off(later, requester, changes).await?;
                Ok(accepted)
            }
            Turn::Never { until, because_of } => {
                self.audit.event = Event::Judged;
                self.audit.request_id = None;
                self.audit.verdict = Some(Verdict::Ignore.to_string());
                self.audit.rule = Some(RuleName::BLOCKED.to_string());
                self.audit.reason = Some(format!("{because_of} is blocked until {until}"));
                self.note(changes).await?;
                Ok(Accepted::Blocked { until })
            }
        }
    }
}

/// How a request waits in the spool.
struct Waits {
    /// From when on it is done.
    due: Timestamp,
    /// Whether its sender knows that it waits.
    told: bool,
    requester: Requester,
}

impl NewRequest {
    /// Not taken: appended to the audit log, or counted with others there.
    async fn note(self, changes: &mut Changes<'_>) -> Result<(), Failure> {
        let network = self.client.map(Into::into);
        audit_counts::note_by_network(self.audit, network, changes).await
    }

    /// What is known of the address that is answered first.
    async fn acquaintance(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Acquaintance, sqlx::Error> {
        match self.targets.first() {
            Some(target) => Acquaintance::with(target, connection).await,
            None => Ok(Acquaintance::default()),
        }
    }

    /// Into the spool.
    async fn take(mut self, waits: Waits, changes: &mut Changes<'_>) -> Result<(), Failure> {
        require_room(self.message.len(), changes).await?;
        insert(&self, &waits, changes.connection).await?;
        changes.due.requests += 1;
        self.audit.event = Event::Accepted;
        self.audit.request_id = Some(self.id.to_string());
        changes.audit(self.audit).await?;
        faults::pass(FaultPoint::BeforeSpoolCommit);
        Ok(())
    }

    async fn put_off(
        mut self,
        later: Later,
        requester: Requester,
        changes: &mut Changes<'_>,
    ) -> Result<(), Failure> {
        let Later {
            until,
            notice,
            because_of,
            ..
        } = later;
        self.audit.verdict = Some(Verdict::Defer.to_string());
        self.audit.rule = Some(rule_of(notice).to_string());
        self.audit.reason = Some(format!(
            "{because_of} is over its allowance: done at {until}"
        ));
        if let Some(code) = notice
            && let Some(notice) = self.notice.write(code, until, requester)
        {
            self.audit.result = Some("Notice".to_owned());
            self.audit.code = Some(code.to_string());
            let network = self.network.map(|network| network.to_string());
            let of = Answered {
                request: self.id,
                queue_id: &self.queue_id,
                accepted_at: self.accepted_at,
                requester,
                network: network.as_deref(),
                kind: ReplyKind::Notice,
            };
            deliveries::insert(&notice, of, self.accepted_at, changes).await?;
        }
        let waits = Waits {
            due: until,
            told: true,
            requester,
        };
        self.take(waits, changes).await
    }
}

/// Asks whether a request would be taken.
pub(super) struct RequireRoom;

impl Intent for RequireRoom {
    type Answer = ();

    async fn apply(self, changes: &mut Changes<'_>) -> Result<(), Failure> {
        room::require(0, changes).await?;
        require_room(0, changes).await
    }
}

/// Whether the same message is known, and under which id. A copy that nothing
/// vouched for is not the one that something does. Forgets what is surely older
/// than identities are kept.
async fn accepted_before(
    request: &NewRequest,
    connection: &mut SqliteConnection,
) -> Result<Option<RequestId>, sqlx::Error> {
    let Some(identity) = &request.identity else {
        return Ok(None);
    };
    let known: Option<Text<RequestId>> = sqlx::query_scalar(
        "DELETE FROM identities WHERE accepted_at < ?;
         SELECT request_id FROM identities WHERE identity = ? AND vouched >= ?",
    )
    .bind(Moment(request.forget_before))
    .bind(identity.as_slice())
    .bind(request.trust != Trust::Stranger)
    .fetch_optional(connection)
    .await?;
    Ok(known.map(|Text(id)| id))
}

async fn require_room(size: usize, changes: &mut Changes<'_>) -> Result<(), Failure> {
    let usage = usage(changes.connection).await?;
    let held = usage.requests + usage.replies;
    let bytes = usage.bytes.saturating_add(size as u64);
    if held >= changes.settings.max_requests || bytes > changes.settings.max_bytes {
        return Err(Failure::Full(usage));
    }
    Ok(())
}

async fn insert(
    request: &NewRequest,
    waits: &Waits,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO requests (id, accepted_at, queue_id, reverse_path, client, sender, size,
             waits_since, waits_until, told, rule, targets, target, requester, network)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);
         INSERT INTO request_messages (request, message) VALUES (last_insert_rowid(), ?);
         INSERT INTO identities (request_id, accepted_at, identity, vouched)
         SELECT column1, column2, column3, column4 FROM (VALUES (?, ?, ?, ?))
         WHERE column3 IS NOT NULL
         ON CONFLICT (identity) DO UPDATE SET request_id = excluded.request_id,
             accepted_at = excluded.accepted_at, vouched = excluded.vouched",
    )
    .bind(Text(request.id))
    .bind(Moment(request.accepted_at))
    .bind(&request.queue_id)
    .bind(&request.reverse_path)
    .bind(request.client.map(Text::<IpAddr>))
    .bind(&request.sender)
    .bind(request.message.len() as i64)
    .bind(Moment(request.accepted_at))
    .bind(Moment(waits.due))
    .bind(waits.told)
    .bind(&request.audit.rule)
    .bind(request.targets.join("\n"))
    .bind(request.targets.first().map(|first| first.to_lowercase()))
    .bind(waits.requester.as_str())
    .bind(request.network.map(|network| network.to_string()))
    .bind(request.message.as_slice())
    .bind(Text(request.id))
    .bind(Moment(request.accepted_at))
    .bind(request.identity.as_ref().map(<[u8; 32]>::as_slice))
    .bind(request.trust != Trust::Stranger)
    .execute(connection)
    .await?;
    Ok(())
}

/// What the spool holds.
pub(super) async fn usage(connection: &mut SqliteConnection) -> Result<SpoolUsage, sqlx::Error> {
    let row = sqlx::query("SELECT requests, replies, bytes FROM spool_usage")
        .fetch_one(connection)
        .await?;
    Ok(SpoolUsage {
        requests: row.try_get("requests")?,
        replies: row.try_get("replies")?,
        bytes: row.try_get("bytes")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::{TestStore, at, completion, id, request};
    use super::super::{Store, StoreError};
    use super::*;
    use jiff::SignedDuration;

    #[tokio::test]
    async fn an_accepted_request_comes_back_as_it_was() {
        let test = TestStore::new().await;
        assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);

        let leased = test.lease(at(2)).await.unwrap();
        let accepted = request(1);
        assert_eq!(leased.id, accepted.id);
        assert_eq!(leased.accepted_at, accepted.accepted_at);
        assert_eq!(leased.queue_id, accepted.queue_id);
        assert_eq!(leased.reverse_path, accepted.reverse_path);
        assert_eq!(leased.message, accepted.message);
        assert_eq!(leased.attempts, 1);
        assert_eq!(
            test.events().await,
            [(Event::Accepted, Some(id(1).to_string()))]
        );
    }

    #[tokio::test]
    async fn the_same_message_is_known_for_seven_days() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let again = |seconds: i64, number: u8| {
            let passed = SignedDuration::from_secs(seconds);
            NewRequest {
                id: id(number),
                accepted_at: request(1).accepted_at + passed,
                forget_before: request(1).forget_before + passed,
                ..request(1)
            }
        };
        const WEEK: i64 = 7 * 24 * 3600;

        let duplicate = test.store.accept(again(WEEK, 2)).await.unwrap();
        assert_eq!(duplicate, Accepted::Duplicate(id(1)));
        let first = Some(id(1).to_string());
        assert_eq!(
            test.events().await,
            [(Event::Accepted, first.clone()), (Event::Duplicate, first)]
        );
        assert_eq!(
            test.store.accept(again(WEEK + 1, 3)).await.unwrap(),
            Accepted::New
        );
        assert_eq!(test.store.spool_usage().await.unwrap().requests, 2);
    }

    #[tokio::test]
    async fn a_clock_that_is_ahead_has_no_message_forgotten() {
        let test = TestStore::new().await;
        let clock = |number: u8, days: i64| NewRequest {
            accepted_at: at(0) + SignedDuration::from_hours(24 * days),
            // What the record of such a clock says.
            forget_before: at(0) - NewRequest::IDENTITY_KEPT,
            ..request(number)
        };
        test.store.accept(clock(1, 0)).await.unwrap();
        test.store.accept(clock(2, 8)).await.unwrap();
        for days in [8, 0] {
            let again = NewRequest {
                id: id(3),
                ..clock(1, days)
            };
            let known = test.store.accept(again).await.unwrap();
            assert_eq!(known, Accepted::Duplicate(id(1)));
        }
    }

    #[tokio::test]
    async fn a_strangers_copy_is_not_the_senders_own_message() {
        let test = TestStore::new().await;
        let copy = |number: u8, trust| NewRequest {
            id: id(number),
            trust,
            ..request(1)
        };
        let accept = async |copy| test.store.accept(copy).await.unwrap();
        assert_eq!(accept(copy(1, Trust::Stranger)).await, Accepted::New);
        assert_eq!(accept(copy(2, Trust::Verified)).await, Accepted::New);
        let known = Accepted::Duplicate(id(2));
        assert_eq!(accept(copy(3, Trust::Verified)).await, known);
        assert_eq!(accept(copy(4, Trust::Stranger)).await, known);
    }

    #[tokio::test]
    async fn identities_older_than_that_are_forgotten() {
        let test = TestStore::new().await;
        for number in 1..=50 {
            test.store.accept(request(number)).await.unwrap();
        }
        let late = NewRequest {
            accepted_at: at(45) + NewRequest::IDENTITY_KEPT,
            forget_before: at(45),
            ..request(51)
        };
        test.store.accept(late).await.unwrap();
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM identities")
            .fetch_one(&mut test.sqlite3().await)
            .await
            .unwrap();
        assert_eq!(
            kept, 7,
            "those accepted from second 45 on, and the late one"
        );
    }

    #[tokio::test]
    async fn a_duplicate_is_known_after_the_request_was_completed() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        test.store
            .complete(&leased.token, completion(at(2), &["a@b.example"]))
            .await
            .unwrap();

        let again = NewRequest {
            id: id(2),
            ..request(1)
        };
        assert_eq!(
            test.store.accept(again).await.unwrap(),
            Accepted::Duplicate(id(1))
        );
    }

    #[tokio::test]
    async fn a_message_without_identity_is_never_a_duplicate() {
        let test = TestStore::new().await;
        for number in [1, 2] {
            let request = NewRequest {
                identity: None,
                ..request(number)
            };
            assert_eq!(test.store.accept(request).await.unwrap(), Accepted::New);
        }
    }

    #[tokio::test]
    async fn a_full_spool_takes_requests_again_when_there_is_room() {
        let test = TestStore::with(|settings| settings.max_requests = 2).await;
        test.store.accept(request(1)).await.unwrap();
        test.store.accept(request(2)).await.unwrap();
        let refused = test.store.accept(request(3)).await;
        assert!(matches!(
            refused,
            Err(StoreError::Full {
                requests: 2,
                max_requests: 2,
                ..
            })
        ));
        let duplicate = test
            .store
            .accept(NewRequest {
                id: id(4),
                ..request(2)
            })
            .await
            .unwrap();
        assert_eq!(duplicate, Accepted::Duplicate(id(2)));

        // A reply takes the place of its request until it is delivered.
        let leased = test.lease(at(9)).await.unwrap();
        test.store
            .complete(&leased.token, completion(at(9), &["a@b.example"]))
            .await
            .unwrap();
        assert!(matches!(
            test.store.accept(request(3)).await,
            Err(StoreError::Full { .. })
        ));
        let delivery = test.lease_delivery(at(9)).await.unwrap();
        test.store
            .delivered(&delivery, at(9), "250 ok")
            .await
            .unwrap();
        assert_eq!(test.store.accept(request(3)).await.unwrap(), Accepted::New);
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let size = request(1).message.len() as u64;
        let test = TestStore::with(|settings| settings.max_bytes = 2 * size - 1).await;
        test.store.accept(request(1)).await.unwrap();
        let refused = test.store.accept(request(2)).await;
        assert!(matches!(refused, Err(StoreError::Full { bytes, .. }) if bytes == size));
        assert_eq!(test.store.spool_usage().await.unwrap().bytes, size);
    }
}
