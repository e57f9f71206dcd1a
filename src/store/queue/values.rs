//! What an operator sees of the queue, and what comes of his orders.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::super::values::{StoredEntry, Trouble};
use crate::policy::RuleName;
use crate::request_id::RequestId;

/// A request that waits for its answer, or a finished reply (or notice) that
/// waits to be handed over to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The request, or the one that is replied to.
    pub request_id: RequestId,
    /// Postfix's queue id of the request.
    pub queue_id: String,
    /// When the request was accepted.
    pub accepted_at: Timestamp,
    /// What it is.
    pub what: Waits,
    /// Where it stands.
    pub state: QueueState,
    /// The SMTP client that the request came from.
    pub client: Option<IpAddr>,
    /// The rule by which the request was put off when it came.
    pub rule: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Its last trouble, if it had any.
    pub last_trouble: Option<Trouble>,
    /// The message's header, as far as it can be of interest.
    pub header: Vec<u8>,
}

/// What waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waits {
    /// A request for its answer.
    Request {
        /// The envelope's reverse path.
        reverse_path: String,
    },
    /// A finished reply or notice for the hand-over.
    Reply {
        /// The address that it goes to.
        target: String,
    },
}

/// Where something stands that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// A worker takes it next.
    Due,
    /// A worker has it, at the longest until then.
    InWork {
        /// When its lease ends.
        until: Timestamp,
    },
    /// It is tried again then.
    PutOff {
        /// When.
        until: Timestamp,
    },
    /// Its sender is over his allowance: it is tried first then.
    Throttled {
        /// When.
        until: Timestamp,
    },
    /// It comes after another of the same sender, or to the same target.
    Behind {
        /// The request that this is, or is replied to.
        request_id: RequestId,
    },
}

/// All that is known of a request, finished or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestStory {
    /// Its id.
    pub request_id: RequestId,
    /// What of it waits.
    pub waiting: Vec<Attempted>,
    /// The message, until it is answered.
    pub message: Option<SpooledMessage>,
    /// What the audit log has of it, in order.
    pub entries: Vec<StoredEntry>,
}

/// Something that waits, with the troubles of its latest attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// What waits.
    pub queued: Queued,
    /// The oldest first.
    pub troubles: Vec<Trouble>,
}

/// A request's message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledMessage {
    /// The SMTP client.
    pub client: Option<IpAddr>,
    /// The envelope's reverse path.
    pub reverse_path: String,
    /// The message.
    pub message: Vec<u8>,
}

/// Whose order it is, and when it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Now.
    pub at: Timestamp,
    /// The person, for the audit log.
    pub operator: String,
}

/// What is to be tried again now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToRetry {
    /// Only what of this request waits for a time.
    pub request: Option<RequestId>,
    /// What waits for an allowance too.
    pub throttled: bool,
}

/// How many waits were ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitsEnded {
    /// Of requests.
    pub requests: u64,
    /// Of replies, each target by itself.
    pub replies: u64,
    /// Requests that wait for an allowance as before.
    pub throttled: u64,
    /// Whether Postfix's reply port, which is in trouble, is tried now.
    pub port: bool,
}

/// Which requests are meant, answered ones whose replies still wait too. All
/// that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The address in the reverse path, or the sender as
    /// [`crate::store::ThrottledSender::key`] has it.
    pub sender: Option<String>,
    /// A network that the client is in.
    pub client: Option<IpNet>,
    /// They wait for an allowance by this rule.
    pub rule: Option<RuleName>,
}

/// A request of which something waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Its id.
    pub request_id: RequestId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The envelope's reverse path.
    pub reverse_path: String,
    /// It is not answered yet.
    pub is_unanswered: bool,
    /// It waits for its turn under an allowance.
    pub is_throttled: bool,
    /// How many of its replies and notices wait, each target by itself.
    pub replies: u64,
}

/// Many requests to be dropped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToDropAll {
    /// Their ids, as a selection found them.
    pub requests: Vec<RequestId>,
    /// Only those that still wait for an allowance.
    pub only_throttled: bool,
    /// Why, in the operator's words.
    pub reason: String,
}

/// What came of such an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedAll {
    /// Requests that were not answered yet.
    pub requests: u64,
    /// Replies and notices, each target by itself.
    pub replies: u64,
    /// Requests of which a reply is being handed to Postfix: nothing of them was
    /// dropped.
    pub in_work: u64,
    /// Requests that were not as they were selected any more.
    pub gone: u64,
}

/// What is to be dropped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToDrop {
    /// The request, or the one that is replied to.
    pub request_id: RequestId,
    /// Only what goes to this address.
    pub target: Option<String>,
    /// Why, in the operator's words.
    pub reason: String,
}

/// What came of an order to drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its end is committed.
    Done {
        /// Whether the request was not answered yet. Whoever works on it will
        /// find its result refused.
        was_unanswered: bool,
        /// Whom no reply or notice will reach that waited.
        targets: Vec<String>,
    },
    /// A worker is handing it to Postfix, who may have it already: nothing was
    /// dropped.
    InWork {
        /// The address that it goes to.
        target: String,
        /// When the lease ends, at the latest.
        until: Timestamp,
    },
    /// Nothing waits for that address.
    NoSuchTarget {
        /// For whom something does.
        targets: Vec<String>,
    },
    /// Nothing of the request waits.
    NotQueued,
}
