//! Durable state. Each change is one transaction, committed and synced when its method returns.
//! SQL appears in this folder only. The store never reads the clock: the time is an argument.
//!
//! Each room adds its methods to [`Store`], and imports only rooms above it. In reading order:
//!
//! | room | holds |
//! |---|---|
//! | `database` | the engines, connections, transactions, and the one thread that writes |
//! | `audit` | the audit log: appended, counted, cut |
//! | `keys` | the tables of the key management system, and the change of its secrets |
//! | `throttle` | allowances of senders, and the strangers' shares of the spool |
//! | `spool` | requests until their result, replies until their delivery, an operator's orders |
//! | `nodes` | the gateways of one database |
//! | `copy` | everything in a database of the other engine |
//! | `backup` | everything in a file |
//! | `soundness` | what of it is checked before the gateway serves, and what meanwhile |
//!
//! `migrations/` has the schema.

mod audit;
mod backup;
mod copy;
mod database;
mod keys;
#[cfg(test)]
mod model;
mod nodes;
mod partial_file;
mod soundness;
mod spool;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod testing_server;
mod throttle;

pub(crate) use self::audit::log::StoredEntry;
pub(crate) use self::audit::order::Order;
pub(crate) use self::backup::BackupError;
pub(crate) use self::copy::{Copied, CopyError, move_store};
pub(crate) use self::database::give_to_owner;
pub(crate) use self::database::{Checked, SharedClock};
pub use self::database::{DatabaseError, Idle, Looked, Store, StoreError, StoreSettings};
pub(crate) use self::keys::issues::PastIssue;
pub(crate) use self::keys::secret_change::{SecretChange, StoreAlone};
pub(crate) use self::nodes::{Node, NodeProcess, SeenNode};
pub use self::spool::acceptance::{Accepted, NewRequest, NoticeSettings};
pub(crate) use self::spool::completion::Completed;
pub(crate) use self::spool::completion::Completion;
pub(crate) use self::spool::deliveries::LeasedDelivery;
pub(crate) use self::spool::late_requests::WaitingRequest;
pub(crate) use self::spool::leases::First;
pub(crate) use self::spool::leases::LeaseToken;
pub use self::spool::leases::Leasing;
pub(crate) use self::spool::postponing::Postponement;
pub(crate) use self::spool::queue::{
    Attempted, Dropped, DroppedAll, RequestStory, Selected, Selection, SpooledMessage, ToDrop,
    ToDropAll, ToRetry, WaitsEnded,
};
pub(crate) use self::spool::queue::{QueueState, Queued, Waits};
pub(crate) use self::spool::replies::FinishedReply;
pub(crate) use self::spool::reply_port::{HandOver, PortFailure, PortTrouble};
pub use self::spool::requests::LeasedRequest;
pub(crate) use self::spool::troubles::Trouble;
pub(crate) use self::spool::usage::SpoolUsage;
pub(crate) use self::throttle::buckets::ThrottledSender;
