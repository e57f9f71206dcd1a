//! What goes into the store and comes out of it.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    audit::{Entry, Head},
    kms::Effects,
    mail::NoticeCode,
    policy::{Charges, ClientNetwork, Requester, RuleName, Trust, Verdict, throttle::Bucket},
    request_id::RequestId,
    sts::StsTime,
};

/// A request for the spool.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// Its id from here to the end.
    pub id: RequestId,
    /// When the message's end arrived, kept to the microsecond. Freshness is
    /// judged at this time.
    pub accepted_at: Timestamp,
    /// Postfix's queue id.
    pub queue_id: String,
    /// The envelope's reverse path.
    pub reverse_path: String,
    /// The SMTP client that brought it to our own Postfix.
    pub client: Option<IpAddr>,
    /// Whose request it is: the requests of one sender are done in order.
    pub sender: String,
    /// What vouches for that.
    pub trust: Trust,
    /// The client's network, where that says something of the sender.
    pub network: Option<ClientNetwork>,
    /// The addresses that are answered, at least one.
    pub targets: Vec<String>,
    /// Messages accepted before then are forgotten: they are surely older than
    /// [`Self::IDENTITY_KEPT`].
    pub forget_before: Timestamp,
    /// What makes two messages the same one; none where that can't be told.
    pub identity: Option<[u8; 32]>,
    /// The message as it came.
    pub message: Vec<u8>,
    /// The allowances that it is taken out of.
    pub charges: Charges,
    /// Writes the notice, should one be due.
    pub notice: NoticeWriter,
    /// What the audit log shall say. The store sets its event, and what comes
    /// of the allowances.
    pub audit: Entry,
}

impl NewRequest {
    /// How long an accepted message is known again.
    pub const IDENTITY_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
}

/// A key load file that was issued to a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastIssue {
    /// The request that it answered.
    pub request_id: RequestId,
    /// When the module made that, by its own clock.
    pub request_time: StsTime,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The vending keys in it, SGC/KRN by comma.
    pub keys: String,
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

    pub(super) fn write(
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

/// What became of a request that was to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in the spool and on the disk.
    New,
    /// The same, but it is done later, for its sender is over an allowance.
    Deferred {
        /// When its turn comes.
        until: Timestamp,
        /// What its sender is told.
        notice: Option<NoticeCode>,
    },
    /// Its sender is blocked and was told so: it is in the audit log only.
    Blocked {
        /// When that ends.
        until: Timestamp,
    },
    /// The same message was accepted before under this id.
    Duplicate(RequestId),
}

/// The rule by which a request is put off whose sender gets this notice.
pub(super) fn rule_of(notice: Option<NoticeCode>) -> RuleName {
    match notice {
        Some(NoticeCode::Blocked) => RuleName::BLOCKED,
        Some(NoticeCode::Deferred) | None => RuleName::FLOOD,
    }
}

impl Accepted {
    /// The rule that only the store looks at and that decided, if one did, and
    /// the verdict that followed.
    #[must_use]
    pub fn ruling(self) -> Option<(Verdict, RuleName)> {
        match self {
            Accepted::New | Accepted::Duplicate(_) => None,
            Accepted::Deferred { notice, .. } => Some((Verdict::Defer, rule_of(notice))),
            Accepted::Blocked { .. } => Some((Verdict::Ignore, RuleName::BLOCKED)),
        }
    }
}

/// Shows that its holder has the lease of a `T`, a [`LeasedRequest`] or a
/// [`LeasedDelivery`], unless it has passed to another meanwhile.
pub struct LeaseToken<T> {
    /// The row leased; its number is never used again.
    pub(super) row: i64,
    /// Counts the leases of that row.
    pub(super) lease: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> LeaseToken<T> {
    pub(super) fn new(row: i64, lease: u32) -> Self {
        Self {
            row,
            lease,
            of: PhantomData,
        }
    }
}

impl<T> PartialEq for LeaseToken<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.row, self.lease) == (other.row, other.lease)
    }
}

impl<T> Eq for LeaseToken<T> {}

impl<T> Clone for LeaseToken<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for LeaseToken<T> {}

impl<T> fmt::Debug for LeaseToken<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseToken({}, {})", self.row, self.lease)
    }
}

/// Which of what is due is leased first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum First {
    /// The one that has been due longest.
    #[default]
    Oldest,
    /// The one that fell due last: the new need not wait for a whole backlog.
    Newest,
}

impl First {
    /// The other, for whoever takes both in turn.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Oldest => Self::Newest,
            Self::Newest => Self::Oldest,
        }
    }
}

/// How something that is due is leased: a [`LeasedRequest`] or a
/// [`LeasedDelivery`].
#[derive(Clone, Debug)]
pub struct Leasing<T> {
    /// Now.
    pub now: Timestamp,
    /// How long the lease lasts, unless it is renewed.
    pub hold: SignedDuration,
    /// Which of what is due.
    pub first: First,
    /// What this process is at work on. Such a lease may look over when the clock
    /// is set; its attempt still lives, and no second one begins beside it.
    pub in_work: Vec<LeaseToken<T>>,
}

impl<T> Leasing<T> {
    /// By a process that is at work on nothing else.
    pub fn alone(now: Timestamp, hold: SignedDuration) -> Self {
        Self {
            now,
            hold,
            first: First::default(),
            in_work: Vec::new(),
        }
    }

    pub(super) fn is_in_work(&self, row: i64) -> bool {
        self.in_work.iter().any(|token| token.row == row)
    }
}

/// A request to be worked on.
#[derive(Clone, Debug)]
pub struct LeasedRequest {
    /// Shows who has the lease.
    pub token: LeaseToken<Self>,
    /// The request's id.
    pub id: RequestId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Postfix's queue id.
    pub queue_id: String,
    /// The envelope's reverse path.
    pub reverse_path: String,
    /// How often it was leased, this time included.
    pub attempts: u32,
    /// Whether its sender knows that the result comes later.
    pub told: bool,
    /// Who asked.
    pub requester: Requester,
    /// Who is answered; nobody in a request that an older version took.
    pub targets: Vec<String>,
    /// The message as it came.
    pub message: Vec<u8>,
}

/// A request in the spool, to tell its sender of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRequest {
    /// Its id.
    pub id: RequestId,
    /// Who asked.
    pub requester: Requester,
    /// Who is answered; nobody in a request that an older version took.
    pub targets: Vec<String>,
    /// The message as it came.
    pub message: Vec<u8>,
}

/// A request's final result.
#[derive(Clone, Debug)]
pub struct Completion {
    /// When it was reached.
    pub at: Timestamp,
    /// The reply, unless none is due.
    pub reply: Option<FinishedReply>,
    /// What the service changes.
    pub effects: Effects,
    /// What the audit log shall say. The store sets its event and the ids.
    pub audit: Entry,
}

/// A reply ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedReply {
    /// The whole message. It is sent as it stands, however often.
    pub message: Vec<u8>,
    /// The envelope's reverse path, empty for the null one.
    pub reverse_path: String,
    /// Whom it goes to, each by a transaction of its own.
    pub targets: Vec<String>,
    /// What a target is told before, if the reply can't be handed over for
    /// long; none where there is nothing to tell.
    pub late_notice: Option<Vec<u8>>,
}

/// What became of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// Effects, reply and audit entry are on the disk.
    Committed,
    /// The lease has passed to another, who will complete the request or did.
    LeaseLost,
    /// The tables that the effects rest on have changed: nothing was written,
    /// the lease is still held, and the service must be asked again.
    BasisChanged,
}

/// A reply to be delivered to one target.
#[derive(Clone, Debug)]
pub struct LeasedDelivery {
    /// Shows who has the lease.
    pub token: LeaseToken<Self>,
    /// The request that is answered.
    pub request_id: RequestId,
    /// Postfix's queue id of the request.
    pub queue_id: String,
    /// The address it goes to.
    pub target: String,
    /// The envelope's reverse path, empty for the null one.
    pub reverse_path: String,
    /// The whole message.
    pub message: Vec<u8>,
    /// When the request was accepted.
    pub accepted_at: Timestamp,
    /// When the reply was completed: retry ends a time after this.
    pub completed_at: Timestamp,
    /// Whether the target can still be told that the reply comes later.
    pub can_be_told: bool,
    /// Whether it is a notice itself: the final reply comes later.
    pub is_notice: bool,
    /// How often it was leased, this time included.
    pub attempts: u32,
    /// The trouble of Postfix's port, where this attempt is to show whether it is
    /// over.
    pub trial: Option<PortTrouble>,
}

/// A delivery that is given back for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postponement {
    /// Now.
    pub at: Timestamp,
    /// When it is due again.
    pub until: Timestamp,
    /// What went wrong.
    pub reason: String,
    /// Whether Postfix refused it, and not for its address.
    pub refused: bool,
    /// Requests accepted by then are late.
    pub late_if_by: Timestamp,
}

/// Why Postfix's reply port takes no replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortTrouble {
    /// Its address, `reply.smtp` of the configuration.
    pub port: SocketAddr,
    /// When that began.
    pub since: Timestamp,
    /// When the last attempt began.
    pub tried_at: Timestamp,
    /// When the next one may begin.
    pub until: Timestamp,
    /// Whether one is under way, which may last until then.
    pub is_being_tried: bool,
    /// How many have failed.
    pub failures: u32,
    /// Whether it answers, and refuses one reply after the other.
    pub refuses: bool,
    /// What went wrong at the last attempt.
    pub trouble: String,
}

/// An attempt has failed for the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFailure {
    /// Its address, `reply.smtp` of the configuration.
    pub port: SocketAddr,
    /// Now.
    pub at: Timestamp,
    /// When the next attempt may begin.
    pub until: Timestamp,
    /// Whether it answers, and refuses one reply after the other.
    pub refuses: bool,
    /// What went wrong.
    pub trouble: String,
    /// Whether the attempt was the trial of a port in trouble.
    pub is_trial: bool,
}

/// How the hand-over of replies goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandOver {
    /// Why no reply is handed over, if none is.
    pub trouble: Option<PortTrouble>,
    /// How many replies, each target by itself, Postfix refused when they were
    /// last tried, and not for their addresses.
    pub refused: u64,
    /// The answer to the last of those.
    pub refusal: Option<String>,
}

/// A reply for one target that nobody tries to hand over any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The request that it answers.
    pub request_id: RequestId,
    /// Postfix's queue id of the request.
    pub queue_id: String,
    /// The address it was for.
    pub target: String,
}

/// A sender that has asked so much that it is not forgotten yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThrottledSender {
    /// The [`crate::policy::ThrottleKey`].
    pub key: String,
    /// Where it stands now.
    pub bucket: Bucket,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which attempt, 1 for the first.
    pub attempt: u32,
    /// When it had failed.
    pub at: Timestamp,
    /// What went wrong.
    pub text: String,
}

/// What the spool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Requests without their final result.
    pub requests: u64,
    /// Replies not delivered to all of their targets.
    pub replies: u64,
    /// The bytes of both.
    pub bytes: u64,
}

/// What waits, as it is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// What the spool holds.
    pub usage: SpoolUsage,
    /// The requests among them that are put off to a later time.
    pub put_off: u64,
    /// When the oldest request was accepted that waits for its result or reply.
    pub oldest: Option<Timestamp>,
    /// Senders whose messages wait for their turn.
    pub deferred_senders: u64,
    /// Senders that are blocked.
    pub blocked_senders: u64,
}

/// An audit entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its sequence number and link.
    pub head: Head,
    /// Its canonical text.
    pub json: String,
}

impl StoredEntry {
    /// Reads the entry.
    ///
    /// # Errors
    /// If the stored text is not an entry, or one of a newer version.
    pub fn entry(&self) -> Result<Entry, serde_json::Error> {
        Entry::from_json(&self.json)
    }
}
