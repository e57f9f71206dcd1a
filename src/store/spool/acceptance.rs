//! Takes requests into the spool: within its bounds, and each message once.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteConnection;
use sqlx::types::Text;

use super::replies::{self, Answered, FinishedReply, NOTICE, ReplyKind};
use super::usage;
use crate::audit::{Entry, Event};
use crate::faults::{self, FaultPoint};
use crate::kms::RequestId;
use crate::mail::NoticeCode;
use crate::policy::{Charges, ClientNetwork, Requester, RuleName, Trust, Verdict};
use crate::store::audit::counts;
use crate::store::database::changes::Changes;
use crate::store::database::columns::Moment;
use crate::store::database::error::{Failure, StoreError};
use crate::store::database::room;
use crate::store::database::store::Store;
use crate::store::throttle::acquaintance::Acquaintance;
use crate::store::throttle::allowances::{Charged, Later, Turn, charge};
use crate::store::throttle::{buckets, shares};

/// A request for the spool.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// Id from here to the end.
    pub id: RequestId,
    /// When the end of the message arrived, kept to the microsecond. Freshness is judged at this
    /// time.
    pub accepted_at: Timestamp,
    /// Postfix's queue id.
    pub queue_id: String,
    /// Reverse path of the envelope.
    pub reverse_path: String,
    /// The SMTP client that brought the message to our own Postfix.
    pub client: Option<IpAddr>,
    /// Key of the sender. Requests of one sender are answered in order.
    pub sender: String,
    /// How far the sender is known to be the sender.
    pub trust: Trust,
    /// The client's network, if it says something about the sender.
    pub network: Option<ClientNetwork>,
    /// The addresses to answer, at least one.
    pub targets: Vec<String>,
    /// Identities of messages accepted before then are forgotten: they are surely older than
    /// [`Self::IDENTITY_KEPT`].
    pub forget_before: Timestamp,
    /// Equal for copies of one message. None if that can't be known.
    pub identity: Option<[u8; 32]>,
    /// The message as it came.
    pub message: Vec<u8>,
    /// The allowances that the request is taken out of.
    pub charges: Charges,
    /// Writes the notice, should one be due.
    pub notice: NoticeWriter,
    /// The audit entry. The store sets its event, and adds the outcome of the allowances.
    pub audit: Entry,
}

impl NewRequest {
    /// Time for which an accepted message is recognised again.
    pub const IDENTITY_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

    pub(crate) fn charged(&self) -> Charged<'_> {
        Charged {
            at: self.accepted_at,
            sender: &self.sender,
            trust: self.trust,
            targets: &self.targets,
            charges: &self.charges,
        }
    }
}

/// Writes the notice that a request of this requester is done at a later time. It is asked in the
/// transaction that puts the request off, so that none is lost and none comes
/// twice.
#[derive(Clone)]
pub struct NoticeWriter(Arc<WriteNotice>);

type WriteNotice = dyn Fn(NoticeCode, Timestamp, Requester) -> Option<FinishedReply> + Send + Sync;

impl NoticeWriter {
    /// One that writes this. None where nobody can be told.
    pub fn new(
        write: impl Fn(NoticeCode, Timestamp, Requester) -> Option<FinishedReply>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(write))
    }

    fn write(
        &self,
        code: NoticeCode,
        until: Timestamp,
        requester: Requester,
    ) -> Option<FinishedReply> {
        (self.0)(code, until, requester)
    }
}

impl fmt::Debug for NoticeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoticeWriter")
    }
}

/// Outcome of an acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The request is in the spool and on the disk.
    New,
    /// The same, but the request is done later: its sender is over an allowance.
    Deferred {
        /// When the turn of the request comes.
        until: Timestamp,
        /// The notice that the sender gets.
        notice: Option<NoticeCode>,
    },
    /// The sender is blocked and has a notice of that. The request is in the audit log only.
    Blocked {
        /// When the block ends.
        until: Timestamp,
    },
    /// The same message was accepted before, under this id.
    Duplicate(RequestId),
}

impl Accepted {
    /// The rule that decided, if it was one that only the store looks at, and its verdict.
    #[must_use]
    pub fn ruling(self) -> Option<(Verdict, RuleName)> {
        match self {
            Accepted::New | Accepted::Duplicate(_) => None,
            Accepted::Deferred { notice, .. } => Some((Verdict::Defer, rule_of(notice))),
            Accepted::Blocked { .. } => Some((Verdict::Ignore, RuleName::Blocked)),
        }
    }
}

/// The rule by which a request with this notice is put off.
fn rule_of(notice: Option<NoticeCode>) -> RuleName {
    match notice {
        Some(NoticeCode::Blocked) => RuleName::Blocked,
        Some(NoticeCode::Deferred) | None => RuleName::Flood,
    }
}

impl Store {
    /// Puts a request into the spool, or recognises it as one that was accepted within
    /// [`NewRequest::IDENTITY_KEPT`] at least. Takes it out of its allowances in the same
    /// transaction. A duplicate costs nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] beyond the bounds of the spool, [`StoreError::NoRoom`] where the
    /// reserve of the file system begins, [`StoreError::Crowded`] if a stranger's request has no
    /// room in its share, or there is no room for the notice that it waits.
    pub async fn accept(&self, request: NewRequest) -> Result<Accepted, StoreError> {
        self.change(|changes| Box::pin(accept(request, changes)))
            .await
    }
}

async fn accept(mut request: NewRequest, changes: &mut Changes<'_>) -> Result<Accepted, Failure> {
    let size = request.message.len();
    room::require(size, changes).await?;
    request.audit.queue_id = Some(request.queue_id.clone());
    if let Some(original) = accepted_before(&request, changes.connection).await? {
        request.audit.event = Event::Duplicate;
        request.audit.request_id = Some(original.to_string());
        request.note(changes).await?;
        return Ok(Accepted::Duplicate(original));
    }
    let of_first = request.acquaintance(changes.connection).await?;
    let requester = of_first.requester(request.trust, request.network);
    shares::require(requester, request.network, size, changes).await?;
    let charged = request.charged();
    match charge(charged, &of_first, buckets::KEPT, changes.connection).await? {
        Turn::Now => {
            let waits = Waits {
                due: request.accepted_at,
                notified: false,
                requester,
            };
            request.take(waits, changes).await?;
            Ok(Accepted::New)
        }
        Turn::Later(later) => {
            let accepted = Accepted::Deferred {
                until: later.until,
                notice: later.notice,
            };
            request.put_off(later, requester, changes).await?;
            Ok(accepted)
        }
        Turn::Never { until, because_of } => {
            request.audit.event = Event::Judged;
            request.audit.request_id = None;
            request.audit.verdict = Some(Verdict::Ignore.to_string());
            request.audit.rule = Some(RuleName::Blocked.to_string());
            request.audit.reason = Some(format!("{because_of} is blocked until {until}"));
            request.note(changes).await?;
            Ok(Accepted::Blocked { until })
        }
    }
}

/// How a request waits in the spool.
struct Waits {
    due: Timestamp,
    /// Whether the sender has a notice that it waits.
    notified: bool,
    requester: Requester,
}

impl NewRequest {
    /// Notes in the audit log a request that is not taken, or counts it with others there.
    async fn note(self, changes: &mut Changes<'_>) -> Result<(), Failure> {
        let network = self.client.map(Into::into);
        counts::note_by_network(self.audit, network, changes).await
    }

    /// Reads what is known of the address that is answered first.
    async fn acquaintance(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Acquaintance, sqlx::Error> {
        match self.targets.first() {
            Some(target) => Acquaintance::with(target, connection).await,
            None => Ok(Acquaintance::default()),
        }
    }

    async fn take(mut self, waits: Waits, changes: &mut Changes<'_>) -> Result<(), Failure> {
        usage::require(self.message.len(), changes).await?;
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
            self.audit.result = Some(NOTICE.to_owned());
            self.audit.code = Some(code.to_string());
            let of = Answered {
                request: self.id,
                queue_id: self.queue_id.clone(),
                accepted_at: self.accepted_at,
                requester,
                network: self.network.map(|network| network.to_string()),
                kind: ReplyKind::Notice,
            };
            replies::insert(&notice, &of, self.accepted_at, changes).await?;
        }
        let waits = Waits {
            due: until,
            notified: true,
            requester,
        };
        self.take(waits, changes).await
    }
}

/// The id under which the same message is known. A copy that nothing vouches for is never taken for
/// one with a verified sender. Forgets identities that are surely old.
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

async fn insert(
    request: &NewRequest,
    waits: &Waits,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO requests (id, accepted_at, queue_id, reverse_path, client, sender, size,
             waits_since, waits_until, notified, rule, targets, target, requester, network)
         VALUES (?1, ?2, ?6, ?7, ?8, ?9, ?10, ?2, ?11, ?12, ?13, ?14, ?15, ?16, ?17);
         INSERT INTO request_messages (request, message) VALUES (last_insert_rowid(), ?5);
         INSERT INTO identities (request_id, accepted_at, identity, vouched)
         SELECT ?1, ?2, ?3, ?4 WHERE ?3 IS NOT NULL
         ON CONFLICT (identity) DO UPDATE SET request_id = excluded.request_id,
             accepted_at = excluded.accepted_at, vouched = excluded.vouched",
    )
    .bind(Text(request.id))
    .bind(Moment(request.accepted_at))
    .bind(request.identity.as_ref().map(<[u8; 32]>::as_slice))
    .bind(request.trust != Trust::Stranger)
    .bind(request.message.as_slice())
    .bind(&request.queue_id)
    .bind(&request.reverse_path)
    .bind(request.client.map(Text::<IpAddr>))
    .bind(&request.sender)
    .bind(request.message.len() as i64)
    .bind(Moment(waits.due))
    .bind(waits.notified)
    .bind(&request.audit.rule)
    .bind(request.targets.join("\n"))
    .bind(request.targets.first().map(|first| first.to_lowercase()))
    .bind(waits.requester.as_str())
    .bind(request.network.map(|network| network.to_string()))
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::StoreError;
    use crate::store::testing::{TestStore, at, completion, id, request};
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
