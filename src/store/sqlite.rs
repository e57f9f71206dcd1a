//! The store in an SQLite database: hands what changes it to the writer, and
//! reads by connections of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Sqlite, Transaction};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{
    Store, acceptance,
    arrivals::Arrivals,
    audit_counts::{NoteIgnored, NoteRejected, SettleCounts},
    audit_hand_over::hand_overs,
    audit_log, audit_retention, backlog, buckets, clock,
    deliveries::{self, Delivered, GiveUp, LeaseDelivery, ReleaseDelivery, Undeliverable},
    error::{Failure, StoreError},
    in_use::InUse,
    intent::{self, Inbox, Intent},
    kms_issues::{self, PruneHistory, PruneReplayMarks},
    leases::Renew,
    open,
    postponing::{PostponeDelivery, TellLate},
    queue::{
        self, DropAll, DropNow, Dropped, DroppedAll, Order, Queued, RequestStory, RetryNow,
        Selected, Selection, ToDrop, ToDropAll, ToRetry, WaitsEnded,
    },
    reply_port::{self, PortFails, PortWorks},
    requests::{self, Complete, Lease, Postpone, Tell},
    settings::StoreSettings,
    throttle::Unblock,
    values::{
        Accepted, Backlog, Completed, Completion, FinishedReply, GivenUp, HandOver, LeaseToken,
        LeasedDelivery, LeasedRequest, Leasing, NewRequest, PastIssue, PortFailure, Postponement,
        SpoolUsage, StoredEntry, ThrottledSender, WaitingRequest,
    },
    writer::{self, Writer},
};
use crate::audit::{BrokenAt, ChainKey, Entry, Head};

use crate::{
    policy::ClientNetwork,
    request_id::RequestId,
    sts::{SmId, StsTime},
    time::ClockRecord,
};

/// The store in an SQLite database. Several may be open on one database, in one
/// process or in several.
pub struct SqliteStore {
    settings: Arc<StoreSettings>,
    chain_key: Option<Arc<ChainKey>>,
    readers: SqlitePool,
    /// None once closed, and where somebody has the store alone.
    in_use: Mutex<Option<InUse>>,
    /// None once closed.
    inbox: Mutex<Option<Inbox>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    commits: Arc<AtomicU64>,
    arrivals: Arc<Arrivals>,
}

impl SqliteStore {
    /// Opens the database, and makes it if it isn't there. Without the audit
    /// log's key it can be read and not changed.
    ///
    /// # Errors
    /// Any [`StoreError`] but [`StoreError::Full`] and [`StoreError::Closed`].
    pub async fn open(
        settings: &StoreSettings,
        chain_key: Option<ChainKey>,
    ) -> Result<Arc<Self>, StoreError> {
        Self::open_with_others(settings, chain_key, false).await
    }

    /// The same, and reads the whole file before: a damaged database is refused.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_checked(
        settings: &StoreSettings,
        chain_key: Option<ChainKey>,
    ) -> Result<Arc<Self>, StoreError> {
        Self::open_with_others(settings, chain_key, true).await
    }

    async fn open_with_others(
        settings: &StoreSettings,
        chain_key: Option<ChainKey>,
        checked: bool,
    ) -> Result<Arc<Self>, StoreError> {
        let connection = open::writer(settings, checked).await?;
        let in_use = InUse::shared(&settings.path)?;
        Self::on(settings, connection, chain_key, Some(in_use)).await
    }

    /// The store on a database that is open, and held by whoever has the lock.
    pub(super) async fn on(
        settings: &StoreSettings,
        mut connection: SqliteConnection,
        chain_key: Option<ChainKey>,
        in_use: Option<InUse>,
    ) -> Result<Arc<Self>, StoreError> {
        let settings = Arc::new(settings.clone());
        let chain_key = match chain_key {
            None => None,
            Some(key) => Some(Arc::new(
                with_former(key, &mut connection, &settings).await?,
            )),
        };
        let commits = Arc::new(AtomicU64::new(0));
        let arrivals = Arc::new(Arrivals::default());
        let (inbox, waiting) = mpsc::channel(writer::QUEUE);
        let writer = Writer {
            settings: settings.clone(),
            chain_key: chain_key.clone(),
            connection: Some(connection),
            seen: None,
            commits: commits.clone(),
            arrivals: arrivals.clone(),
        };
        Ok(Arc::new(Self {
            readers: open::readers(&settings),
            settings,
            chain_key,
            in_use: Mutex::new(in_use),
            inbox: Mutex::new(Some(inbox)),
            writer: Mutex::new(Some(tokio::spawn(writer.run(waiting)))),
            commits,
            arrivals,
        }))
    }

    /// Takes nothing more, finishes what waits and closes the database.
    pub async fn close(&self) {
        drop(take(&self.inbox));
        self.readers.close().await;
        if let Some(writer) = take(&self.writer)
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the store's writer ended badly");
        }
        drop(take(&self.in_use));
    }

    /// How many transactions this store has committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// How many changes wait for the writer.
    pub fn waiting_changes(&self) -> usize {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox
            .as_ref()
            .map_or(0, |inbox| inbox.max_capacity() - inbox.capacity())
    }

    /// Where it is and what it may hold.
    pub(super) fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// The entries at which the audit log's chain passed to the key of another
    /// master secret, as they were when the store was opened with that key.
    pub fn hand_overs(&self) -> Vec<i64> {
        let key = self.chain_key.as_ref();
        key.map_or_else(Vec::new, |key| key.hand_overs().collect())
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.settings.path
    }

    /// Has a change made, and waits for its commit.
    pub(super) async fn change<I: Intent>(&self, intent: I) -> Result<I::Answer, StoreError> {
        let inbox = self
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        intent::submit(&inbox.ok_or(StoreError::Closed)?, intent).await
    }

    /// A transaction to read in: all that it reads is of one moment.
    pub(super) async fn reading(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().await.map_err(|error| match error {
            sqlx::Error::PoolClosed => StoreError::Closed,
            error => self.failed(error),
        })
    }

    /// The error for those outside.
    pub(super) fn failed(&self, failure: impl Into<Failure>) -> StoreError {
        failure.into().of(&self.settings)
    }
}

/// The audit log's key with those before it.
async fn with_former(
    key: ChainKey,
    connection: &mut SqliteConnection,
    settings: &StoreSettings,
) -> Result<ChainKey, StoreError> {
    let hand_overs = hand_overs(connection)
        .await
        .map_err(|error| Failure::from(error).of(settings))?;
    key.with_former(hand_overs)
        .map_err(|_| StoreError::OtherChainKey {
            path: settings.path.clone(),
        })
}

fn take<T>(option: &Mutex<Option<T>>) -> Option<T> {
    option.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[async_trait]
impl Store for SqliteStore {
    async fn accept(&self, request: NewRequest) -> Result<Accepted, StoreError> {
        self.change(request).await
    }

    async fn note_ignored(
        &self,
        entry: Entry,
        network: Option<ClientNetwork>,
    ) -> Result<(), StoreError> {
        self.change(NoteIgnored { entry, network }).await
    }

    async fn note_rejected(&self, entry: Entry) -> Result<(), StoreError> {
        self.change(NoteRejected(entry)).await
    }

    async fn settle_counts(&self, now: Timestamp) -> Result<(), StoreError> {
        self.change(SettleCounts { now }).await
    }

    async fn lease(
        &self,
        leasing: Leasing<LeasedRequest>,
    ) -> Result<Option<LeasedRequest>, StoreError> {
        self.change(Lease(leasing)).await
    }

    async fn renew(
        &self,
        token: &LeaseToken<LeasedRequest>,
        now: Timestamp,
        hold: SignedDuration,
    ) -> Result<bool, StoreError> {
        let token = *token;
        self.change(Renew { token, now, hold }).await
    }

    async fn complete(
        &self,
        token: &LeaseToken<LeasedRequest>,
        completion: Completion,
    ) -> Result<Completed, StoreError> {
        self.change(Complete {
            token: *token,
            completion,
        })
        .await
    }

    async fn postpone(
        &self,
        token: &LeaseToken<LeasedRequest>,
        at: Timestamp,
        until: Timestamp,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.change(Postpone {
            token: *token,
            at,
            until,
            reason: reason.to_owned(),
        })
        .await
    }

    async fn untold_requests(
        &self,
        like: RequestId,
        accepted_by: Timestamp,
    ) -> Result<Vec<WaitingRequest>, StoreError> {
        let mut reading = self.reading().await?;
        requests::untold(&mut reading, like, accepted_by)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn tell(
        &self,
        request: RequestId,
        at: Timestamp,
        notice: FinishedReply,
    ) -> Result<bool, StoreError> {
        self.change(Tell {
            request,
            at,
            notice,
        })
        .await
    }

    async fn lease_delivery(
        &self,
        leasing: Leasing<LeasedDelivery>,
        port: SocketAddr,
    ) -> Result<Option<LeasedDelivery>, StoreError> {
        self.change(LeaseDelivery { leasing, port }).await
    }

    async fn renew_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        now: Timestamp,
        hold: SignedDuration,
    ) -> Result<bool, StoreError> {
        let token = *token;
        self.change(Renew { token, now, hold }).await
    }

    async fn delivered(
        &self,
        leased: &LeasedDelivery,
        at: Timestamp,
        detail: &str,
    ) -> Result<bool, StoreError> {
        self.change(Delivered::new(leased, at, detail)).await
    }

    async fn undeliverable(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        at: Timestamp,
        detail: &str,
    ) -> Result<bool, StoreError> {
        self.change(Undeliverable {
            token: *token,
            at,
            detail: detail.to_owned(),
        })
        .await
    }

    async fn postpone_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        postponement: Postponement,
    ) -> Result<Option<usize>, StoreError> {
        let token = *token;
        self.change(PostponeDelivery {
            token,
            postponement,
        })
        .await
    }

    async fn release_delivery(
        &self,
        token: &LeaseToken<LeasedDelivery>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change(ReleaseDelivery { token: *token, at }).await
    }

    async fn port_fails(&self, failure: PortFailure) -> Result<bool, StoreError> {
        self.change(PortFails(failure)).await
    }

    async fn port_works(&self, port: SocketAddr, at: Timestamp) -> Result<bool, StoreError> {
        self.change(PortWorks { port, at }).await
    }

    async fn hand_over(&self, port: SocketAddr, now: Timestamp) -> Result<HandOver, StoreError> {
        let mut reading = self.reading().await?;
        reply_port::hand_over(port, now, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn tell_late(&self, at: Timestamp, late_if_by: Timestamp) -> Result<usize, StoreError> {
        self.change(TellLate { at, late_if_by }).await
    }

    async fn give_up_deliveries(
        &self,
        completed_before: Timestamp,
        at: Timestamp,
        reason: &str,
    ) -> Result<Vec<GivenUp>, StoreError> {
        let reason = reason.to_owned();
        self.change(GiveUp {
            completed_before,
            at,
            reason,
        })
        .await
    }

    async fn next_request(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut reading = self.reading().await?;
        requests::next_due(&mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn next_delivery(
        &self,
        port: SocketAddr,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut reading = self.reading().await?;
        deliveries::next_due(port, now, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    fn arrivals(&self) -> Arc<Arrivals> {
        self.arrivals.clone()
    }

    async fn queue(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError> {
        let mut reading = self.reading().await?;
        queue::queue(now, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn requests_named(&self, name: &str) -> Result<Vec<RequestId>, StoreError> {
        let mut reading = self.reading().await?;
        queue::named(name, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn request_story(
        &self,
        request: RequestId,
        now: Timestamp,
    ) -> Result<RequestStory, StoreError> {
        let mut reading = self.reading().await?;
        queue::story(request, now, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn retry(&self, what: ToRetry, order: Order) -> Result<WaitsEnded, StoreError> {
        self.change(RetryNow { what, order }).await
    }

    async fn drop_request(&self, what: ToDrop, order: Order) -> Result<Dropped, StoreError> {
        self.change(DropNow { what, order }).await
    }

    async fn selected(
        &self,
        selection: &Selection,
        now: Timestamp,
    ) -> Result<Vec<Selected>, StoreError> {
        let mut reading = self.reading().await?;
        queue::selected(selection, now, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn drop_all(&self, what: ToDropAll, order: Order) -> Result<DroppedAll, StoreError> {
        self.change(DropAll { what, order }).await
    }

    async fn throttled_senders(&self, now: Timestamp) -> Result<Vec<ThrottledSender>, StoreError> {
        let mut reading = self.reading().await?;
        buckets::senders(now, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn unblock(&self, key: &str, order: Order) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.change(Unblock { key, order }).await
    }

    async fn spool_usage(&self) -> Result<SpoolUsage, StoreError> {
        let mut reading = self.reading().await?;
        acceptance::usage(&mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn require_room(&self) -> Result<(), StoreError> {
        self.change(acceptance::RequireRoom).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, StoreError> {
        let mut reading = self.reading().await?;
        backlog::backlog(now, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn prune_replay_marks(&self, through: StsTime) -> Result<u64, StoreError> {
        self.change(PruneReplayMarks { through }).await
    }

    async fn prune_history(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.change(PruneHistory { before }).await
    }

    async fn clock_record(&self) -> Result<Option<ClockRecord>, StoreError> {
        let mut reading = self.reading().await?;
        clock::record(&mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn keep_clock_record(&self, record: ClockRecord) -> Result<(), StoreError> {
        self.change(clock::KeepClockRecord(record)).await
    }

    async fn issued_to(&self, smid: &SmId, limit: u32) -> Result<Vec<PastIssue>, StoreError> {
        let mut reading = self.reading().await?;
        kms_issues::history(smid, limit, &mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn audit_entries(&self, from: i64, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
        let mut reading = self.reading().await?;
        audit_log::entries(&mut reading, from, limit)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn audit_head(&self) -> Result<Head, StoreError> {
        let mut reading = self.reading().await?;
        audit_log::head(&mut reading)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn verify_audit(&self, from: Option<Head>) -> Result<Result<Head, BrokenAt>, StoreError> {
        let key = self
            .chain_key
            .as_ref()
            .ok_or_else(|| self.failed(Failure::NoChainKey))?;
        let mut reading = self.reading().await?;
        audit_log::verify(&mut reading, key, from)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn prune_audit(
        &self,
        before: Timestamp,
        at: Timestamp,
    ) -> Result<Result<u64, BrokenAt>, StoreError> {
        self.change(audit_retention::PruneAudit { before, at })
            .await
    }
}
