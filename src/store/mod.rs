//! Durable state behind one trait whose methods are whole intents: each is one
//! transaction, committed and synced when it returns. Nothing outside this
//! folder knows SQL, begins or commits.
//!
//! The store never reads the clock: the time is an argument wherever it counts.

mod acceptance;
mod acquaintance;
mod arrivals;
mod audit_counts;
mod audit_hand_over;
mod audit_log;
mod audit_retention;
mod backlog;
mod backup;
mod buckets;
mod clock;
mod columns;
mod deliveries;
mod error;
mod in_use;
mod integrity;
mod intent;
mod kms_changes;
mod kms_issues;
mod kms_tables;
mod leases;
#[cfg(test)]
mod model;
mod open;
mod owner;
mod postponing;
mod queue;
mod reply_port;
mod requests;
mod room;
mod secret_change;
mod settings;
mod shares;
mod sqlite;
#[cfg(test)]
pub(crate) mod testing;
mod throttle;
mod troubles;
mod values;
mod wait;
mod write_ahead_log;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::{
    audit::{BrokenAt, Entry, Head},
    kms::KmsTables,
    policy::ClientNetwork,
    request_id::RequestId,
    sts::{SmId, StsTime},
    time::ClockRecord,
};

pub use arrivals::Arrivals;
pub use backup::{Backup, BackupError};
pub use error::StoreError;
pub use owner::give_to_owner;
pub use queue::{
    Attempted, Dropped, DroppedAll, Order, QueueState, Queued, RequestStory, Selected, Selection,
    SpooledMessage, ToDrop, ToDropAll, ToRetry, Waits, WaitsEnded,
};
pub use secret_change::{SecretChange, StoreAlone};
pub use settings::StoreSettings;
pub use sqlite::SqliteStore;
pub use values::{
    Accepted, Backlog, Completed, Completion, FinishedReply, First, GivenUp, HandOver, LeaseToken,
    LeasedDelivery, LeasedRequest, Leasing, NewRequest, NoticeWriter, PastIssue, PortFailure,
    PortTrouble, Postponement, SpoolUsage, StoredEntry, ThrottledSender, Trouble, WaitingRequest,
};

/// The durable state: spool, deliveries, audit log and, by its supertrait, the
/// tables of the key management system.
///
/// A lease is held until its time is over or it is given back by one of the
/// methods that take its token; whoever works for longer renews it. A token stays
/// good until another lease of the same thing was given out, so that who is late
/// but alone still succeeds.
///
/// Every method fails with a [`StoreError`] when the database does; nothing was
/// changed then, and the same call may succeed later.
#[async_trait]
pub trait Store: KmsTables {
    /// Puts a request into the spool, or recognises it as one that was accepted
    /// within [`NewRequest::IDENTITY_KEPT`] at least. The store writes the event into the
    /// audit entry: accepted or duplicate. Takes it out of its allowances in the
    /// same transaction; a duplicate costs nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] beyond the spool's bounds, [`StoreError::NoRoom`]
    /// where the file system's reserve begins, [`StoreError::Crowded`] where a
    /// stranger's has no room in its share, or nobody could be told that it waits.
    async fn accept(&self, request: NewRequest) -> Result<Accepted, StoreError>;

    /// Appends the audit entry of mail that is ignored. Of those of one rule and
    /// client network within a minute the first is appended as it is. The others
    /// are counted, and one entry says how many there were; so it is with
    /// duplicates and mail of blocked senders that [`Store::accept`] does not
    /// take. Beyond a number of networks, all others of a rule are counted
    /// together.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] where the file system's reserve begins: it is for
    /// what was accepted.
    async fn note_ignored(
        &self,
        entry: Entry,
        network: Option<ClientNetwork>,
    ) -> Result<(), StoreError>;

    /// The same for mail that is rejected: all of a rule are counted together,
    /// into the reserve too.
    async fn note_rejected(&self, entry: Entry) -> Result<(), StoreError>;

    /// Appends what was counted more than a minute ago.
    async fn settle_counts(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Leases a request that is due. A sender's requests are leased in
    /// the order of their acceptance, the next one when the one before has its
    /// final result.
    async fn lease(
        &self,
        leasing: Leasing<LeasedRequest>,
    ) -> Result<Option<LeasedRequest>, StoreError>;

    /// Renews a lease from now on: its attempt lives. False if the lease has passed
    /// to another or was given back.
    async fn renew(
        &self,
        token: &LeaseToken<LeasedRequest>,
        now: Timestamp,
        hold: SignedDuration,
    ) -> Result<bool, StoreError>;

    /// Commits a request's final result: effects, reply and audit entry in one
    /// transaction, and takes the request out of the spool.
    async fn complete(
        &self,
        token: &LeaseToken<LeasedRequest>,
        completion: Completion,
    ) -> Result<Completed, StoreError>;

    /// Gives a request back, to be leased again from `until` on. False if the
    /// lease has passed to another.
    async fn postpone(
        &self,
        token: &LeaseToken<LeasedRequest>,
        at: Timestamp,
        until: Timestamp,
        reason: &str,
    ) -> Result<bool, StoreError>;

    /// The requests of the same sender as this one, itself among them, that
    /// were accepted by then and whose sender does not know that they wait.
    async fn untold_requests(
        &self,
        like: RequestId,
        accepted_by: Timestamp,
    ) -> Result<Vec<WaitingRequest>, StoreError>;

    /// Sends the notice that a request waits, unless its sender knows. False if
    /// he does, or the request has its result.
    async fn tell(
        &self,
        request: RequestId,
        at: Timestamp,
        notice: FinishedReply,
    ) -> Result<bool, StoreError>;

    /// Leases a delivery that is due, to be handed over at this port. The replies
    /// to one target are leased in the order of their completion. While the port
    /// is in trouble there is one at a time, and that no sooner than the trouble
    /// says: [`LeasedDelivery::trial`].
    async fn lease_delivery(
        &self,
        leasing: Leasing<LeasedDelivery>,
        port: SocketAddr,
    ) -> Result<Option<LeasedDelivery>, StoreError>;

    /// As [`Store::renew`].
    async fn renew_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        now: Timestamp,
        hold: SignedDuration,
    ) -> Result<bool, StoreError>;

    /// Postfix took the reply for this target. `detail` is what it said. That ends
    /// the delivery whoever has its lease by now, and is in the audit log whatever
    /// became of it before. False if it had ended already.
    async fn delivered(
        &self,
        leased: &LeasedDelivery,
        at: Timestamp,
        detail: &str,
    ) -> Result<bool, StoreError>;

    /// Postfix refused the reply for this target for good. `detail` is what it
    /// said. False if the lease has passed to another.
    async fn undeliverable(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        at: Timestamp,
        detail: &str,
    ) -> Result<bool, StoreError>;

    /// Gives a delivery back for a time. None if the lease has passed to another.
    /// The replies to requests that are late, this one and those to the same target
    /// behind it, come after their notices then, unless it knows; tells how many
    /// notices.
    async fn postpone_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        postponement: Postponement,
    ) -> Result<Option<usize>, StoreError>;

    /// Gives a delivery back that was not offered to Postfix: the attempt does not
    /// count, and it is due. False if the lease has passed to another.
    async fn release_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Notes that a port takes no replies. True if that is new.
    async fn port_fails(&self, failure: PortFailure) -> Result<bool, StoreError>;

    /// Notes that a port takes replies. True if it was in trouble: whatever waits
    /// for it is due then.
    async fn port_works(&self, port: SocketAddr, at: Timestamp) -> Result<bool, StoreError>;

    /// How the hand-over of replies at this port goes.
    async fn hand_over(&self, port: SocketAddr, now: Timestamp) -> Result<HandOver, StoreError>;

    /// Puts their notices before replies that wait, to requests that were accepted
    /// by `late_if_by`, unless their targets know. Tells how many, some dozens at
    /// most: there may be more.
    async fn tell_late(&self, at: Timestamp, late_if_by: Timestamp) -> Result<usize, StoreError>;

    /// Ends deliveries that wait, of replies completed before, for this reason.
    /// Tells which, some dozens at most: there may be more.
    async fn give_up_deliveries(
        &self,
        completed_before: Timestamp,
        at: Timestamp,
        reason: &str,
    ) -> Result<Vec<GivenUp>, StoreError>;

    /// When the next request falls due, or the lease of one ends: the worker must
    /// look again then, if nothing woke it before.
    async fn next_request(&self) -> Result<Option<Timestamp>, StoreError>;

    /// The same of deliveries at this port.
    async fn next_delivery(
        &self,
        port: SocketAddr,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Where to wait for work: woken after a commit of this store that has made
    /// something due, and within about a second of any commit of another.
    fn arrivals(&self) -> Arc<Arrivals>;

    /// What waits: requests for their answers, replies and notices for their
    /// hand-over, each target by itself. Those accepted first come first.
    async fn queue(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError>;

    /// The requests that a name names, finished ones too: those whose id or
    /// Postfix's queue id it is, or else those whose id begins so.
    async fn requests_named(&self, name: &str) -> Result<Vec<RequestId>, StoreError>;

    /// All that is known of a request, at one moment.
    async fn request_story(
        &self,
        request: RequestId,
        now: Timestamp,
    ) -> Result<RequestStory, StoreError>;

    /// Ends waits at an operator's order, those for an allowance only if that is
    /// ordered. Leaves alone what a worker has.
    async fn retry(&self, what: ToRetry, order: Order) -> Result<WaitsEnded, StoreError>;

    /// Drops at an operator's order what of a request waits: its audited end.
    /// What the gateway knows the message by is kept, so that the same message
    /// is not taken again.
    async fn drop_request(&self, what: ToDrop, order: Order) -> Result<Dropped, StoreError>;

    /// The requests that are meant, those accepted first first, and then those
    /// of which only replies wait.
    async fn selected(
        &self,
        selection: &Selection,
        now: Timestamp,
    ) -> Result<Vec<Selected>, StoreError>;

    /// The same as [`Store::drop_request`] for many, in one transaction: give no
    /// more than some hundred at once.
    async fn drop_all(&self, what: ToDropAll, order: Order) -> Result<DroppedAll, StoreError>;

    /// Senders with a backlog, blocked or not, those that asked last first.
    async fn throttled_senders(&self, now: Timestamp) -> Result<Vec<ThrottledSender>, StoreError>;

    /// Forgets what a sender asked, by its [`ThrottledSender::key`]: its block
    /// ends, and its requests that wait for their turn are due. False if nothing
    /// is known of it.
    async fn unblock(&self, key: &str, order: Order) -> Result<bool, StoreError>;

    /// What the spool holds.
    async fn spool_usage(&self) -> Result<SpoolUsage, StoreError>;

    /// Whether a request would be taken now, by an attempt that writes nothing.
    ///
    /// # Errors
    /// As [`Store::accept`] would fail for a small one.
    async fn require_room(&self) -> Result<(), StoreError>;

    /// What waits in the spool and which senders wait, to be measured.
    async fn backlog(&self, now: Timestamp) -> Result<Backlog, StoreError>;

    /// Forgets replay marks of requests made at or before `through`, behind a
    /// watermark of each module: [`crate::kms::Asker::watermark`]. Tells
    /// how many were forgotten.
    async fn prune_replay_marks(&self, through: StsTime) -> Result<u64, StoreError>;

    /// Forgets which key load files were issued before. Tells how many.
    async fn prune_history(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// How the clock ran until that was last kept; none before the first time.
    async fn clock_record(&self) -> Result<Option<ClockRecord>, StoreError>;

    /// Keeps how the clock ran, in the place of what was kept before.
    async fn keep_clock_record(&self, record: ClockRecord) -> Result<(), StoreError>;

    /// At most `limit` key load files that were issued to a module, the latest
    /// first.
    async fn issued_to(&self, smid: &SmId, limit: u32) -> Result<Vec<PastIssue>, StoreError>;

    /// At most `limit` audit entries in order, beginning with sequence number `from`.
    async fn audit_entries(&self, from: i64, limit: u32) -> Result<Vec<StoredEntry>, StoreError>;

    /// The newest audit entry's sequence number and link.
    async fn audit_head(&self) -> Result<Head, StoreError>;

    /// Verifies the audit log from its beginning (or the anchor that retention
    /// left), or from a head that was kept elsewhere, which must then be in it.
    async fn verify_audit(&self, from: Option<Head>) -> Result<Result<Head, BrokenAt>, StoreError>;

    /// Cuts audit entries older than `before` off the old end, leaves the
    /// anchor, and audits that `at` this time. Tells how many were cut, some
    /// thousands at most: there may be more. A chain that doesn't hold there is
    /// left as it is.
    async fn prune_audit(
        &self,
        before: Timestamp,
        at: Timestamp,
    ) -> Result<Result<u64, BrokenAt>, StoreError>;
}
