//! The queue as operators see it, and the outcomes of their orders.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::policy::RuleName;
use crate::request_id::RequestId;
use crate::store::audit::log::StoredEntry;
use crate::store::spool::troubles::Trouble;

/// A request that waits for its answer, or a finished reply (or notice) that waits to be handed
/// over to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Id of the request, or of the one that is replied to.
    pub request_id: RequestId,
    /// Postfix's queue id of the request.
    pub(crate) queue_id: String,
    /// When the request was accepted.
    pub(crate) accepted_at: Timestamp,
    /// Request or reply.
    pub(crate) what: Waits,
    /// The reason why it still waits.
    pub(crate) state: QueueState,
    /// The SMTP client that the request came from.
    pub(crate) client: Option<IpAddr>,
    /// The rule that put the request off when it came.
    pub(crate) rule: Option<String>,
    /// The gateway that has it, if it is in work.
    pub(crate) node: Option<String>,
    /// Attempts so far.
    pub(crate) attempts: u32,
    /// Trouble of the last failed attempt.
    pub(crate) last_trouble: Option<Trouble>,
    /// Header of the message, at most 64 KiB.
    pub(crate) header: Vec<u8>,
}

/// A request or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// A request that waits for its answer.
    Request {
        /// Reverse path of the envelope.
        reverse_path: String,
    },
    /// A finished reply or notice that waits for the hand-over.
    Reply {
        /// The address that it goes to.
        target: String,
    },
}

/// The reason why something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueState {
    /// A worker takes it next.
    Due,
    /// A worker has it.
    InWork {
        /// When the lease ends.
        until: Timestamp,
    },
    /// It is tried again later.
    PutOff {
        /// When it is tried again.
        until: Timestamp,
    },
    /// Its sender is over the allowance.
    Throttled {
        /// When it is tried for the first time.
        until: Timestamp,
    },
    /// Another one of the same sender, or to the same target, comes first.
    Behind {
        /// Id of the first one's request.
        request_id: RequestId,
    },
}

/// Everything that is known of a request, finished or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestStory {
    pub(crate) request_id: RequestId,
    pub(crate) waiting: Vec<Attempted>,
    /// The message, until it is answered.
    pub(crate) message: Option<SpooledMessage>,
    pub(crate) entries: Vec<StoredEntry>,
}

/// A request or reply that waits, with the troubles of its latest attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempted {
    pub(crate) queued: Queued,
    /// Troubles, the oldest first.
    pub(crate) troubles: Vec<Trouble>,
}

/// A request's message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpooledMessage {
    pub(crate) client: Option<IpAddr>,
    pub(crate) reverse_path: String,
    pub(crate) message: Vec<u8>,
}

/// An order to try again now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ToRetry {
    /// Only the waits of this request and its replies.
    pub(crate) request: Option<RequestId>,
    /// Also waits for an allowance.
    pub(crate) throttled: bool,
}

/// Numbers of waits that an order ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaitsEnded {
    pub(crate) requests: u64,
    /// Waits of replies, each target by itself.
    pub(crate) replies: u64,
    /// Requests that still wait for an allowance.
    pub(crate) throttled: u64,
    /// Whether a reply port in trouble is tried now.
    pub(crate) port: bool,
}

/// Selects requests, and answered ones whose replies still wait. Every given condition must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The address in the reverse path, or the sender as
    /// [`crate::store::ThrottledSender::key`] has it.
    pub(crate) sender: Option<String>,
    /// A network that contains the client.
    pub(crate) client: Option<IpNet>,
    /// The rule by which they wait for an allowance.
    pub(crate) rule: Option<RuleName>,
}

/// A request that waits, or whose replies do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) request_id: RequestId,
    pub(crate) accepted_at: Timestamp,
    pub(crate) reverse_path: String,
    pub(crate) is_unanswered: bool,
    /// Whether it waits for its turn under an allowance.
    pub(crate) is_throttled: bool,
    /// Replies and notices that wait, each target by itself.
    pub(crate) replies: u64,
}

/// An order to drop many requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToDropAll {
    /// Their ids, as a selection found them.
    pub(crate) requests: Vec<RequestId>,
    /// Drop only those that still wait for an allowance.
    pub(crate) only_throttled: bool,
    pub(crate) reason: String,
}

/// Outcome of an order to drop many requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DroppedAll {
    pub(crate) requests: u64,
    /// Dropped replies and notices, each target by itself.
    pub(crate) replies: u64,
    /// Requests that were left alone, since a reply is being handed to Postfix.
    pub(crate) in_work: u64,
    /// Requests that no longer are as they were selected.
    pub(crate) gone: u64,
}

/// An order to drop a request or replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToDrop {
    /// Id of the request, or of the one that is replied to.
    pub(crate) request_id: RequestId,
    /// Drop only replies to this address.
    pub(crate) target: Option<String>,
    pub(crate) reason: String,
}

/// Outcome of an order to drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Dropped and audited.
    Done {
        /// Whether the request was not answered yet. The result of a worker that has it will be
        /// refused.
        was_unanswered: bool,
        /// The addresses whose replies and notices were dropped.
        targets: Vec<String>,
    },
    /// Nothing was dropped: a worker is handing it to Postfix, which may have it already.
    InWork {
        target: String,
        /// When the lease ends.
        until: Timestamp,
    },
    /// Nothing waits for that address.
    NoSuchTarget {
        /// Addresses with something that waits.
        targets: Vec<String>,
    },
    /// Nothing of the request waits.
    NotQueued,
}
