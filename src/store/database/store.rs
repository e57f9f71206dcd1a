//! The store: hands changes to the writer, and reads by connections of its own. Knows no table:
//! each room adds its own methods to [`Store`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::task::spawn_blocking;

use super::arrivals::Arrivals;
use super::changes::{self, Changes, Inbox, Leisurely};
use super::connection::Connection;
use super::due::{Idle, Kind, Looked};
use super::error::{DatabaseError, Failure, StoreError};
use super::former_keys::with_former;
use super::opening::{self, Opened, Sharing};
use super::readers::Readers;
use super::settings::StoreSettings;
use super::shared_clock::SharedClock;
use super::sqlite::{Check, Checked, InUse, cannot};
use super::whole_check::WholeCheck;
use super::writer::Writer;
use crate::audit::ChainKey;

/// The durable state: spool, allowances, audit log and keys, in an SQLite database. Several stores
/// may be open on one database, in one process or in several.
///
/// Each method that changes something is one transaction, committed and synced when the method
/// returns. It fails with a [`StoreError`] when the database does. Nothing was changed then, and
/// the same call may succeed later.
pub struct Store {
    settings: Arc<StoreSettings>,
    chain_key: Option<Arc<ChainKey>>,
    readers: Arc<Readers>,
    /// None once closed, and where the database is no file.
    in_use: Mutex<Option<InUse>>,
    /// None once closed.
    inbox: Mutex<Option<Inbox>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    commits: Arc<AtomicU64>,
    arrivals: Arc<Arrivals>,
    leisurely: Arc<Leisurely>,
    clock: Arc<SharedClock>,
    whole_check: WholeCheck,
}

impl Store {
    /// Opens the database, and makes a new one if there is none. Without the audit log's key it
    /// can be read but not changed.
    ///
    /// # Errors
    /// Any [`StoreError`] but [`StoreError::Full`] and [`StoreError::Closed`].
    pub async fn open(
        settings: &StoreSettings,
        chain_key: Option<ChainKey>,
    ) -> Result<Arc<Self>, StoreError> {
        Self::open_with(settings, chain_key, Check::Nothing, Sharing::WithOthers).await
    }

    /// Opens a database that must exist. Reads the whole file first, and refuses a damaged one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_checked(
        settings: &StoreSettings,
        chain_key: Option<ChainKey>,
    ) -> Result<Arc<Self>, StoreError> {
        Self::open_with(settings, chain_key, Check::Whole, Sharing::WithOthers).await
    }

    /// Whether there is a database, of any version. Makes none.
    ///
    /// # Errors
    /// A PostgreSQL server can't be asked, or the database is a newer program's.
    pub(crate) async fn exists(settings: &StoreSettings) -> Result<bool, StoreError> {
        let settings = settings.clone();
        let looking = spawn_blocking(move || opening::exists(&settings));
        looking.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(crate) async fn open_with(
        settings: &StoreSettings,
        chain_key: Option<ChainKey>,
        check: Check,
        sharing: Sharing,
    ) -> Result<Arc<Self>, StoreError> {
        let settings = Arc::new(settings.clone());
        let owned = settings.clone();
        let opening = spawn_blocking(move || {
            let mut opened = opening::open(&owned, check, sharing)?;
            let key = chain_key.map(|key| with_former(key, &mut opened.connection, &owned));
            Ok((opened, key.transpose()?))
        });
        let (opened, chain_key) = opening.await.unwrap_or(Err(StoreError::Closed))?;
        Self::on(settings, opened, chain_key.map(Arc::new))
    }

    fn on(
        settings: Arc<StoreSettings>,
        opened: Opened,
        chain_key: Option<Arc<ChainKey>>,
    ) -> Result<Arc<Self>, StoreError> {
        let clock = Arc::new(opened.clock);
        let commits = Arc::new(AtomicU64::new(0));
        let arrivals = Arc::new(Arrivals::default());
        let leisurely = Arc::new(Leisurely::default());
        let writer = Writer {
            settings: settings.clone(),
            chain_key: chain_key.clone(),
            connection: Some(opened.connection),
            seen: None,
            secrets: opened.secrets,
            clock: clock.clone(),
            commits: commits.clone(),
            arrivals: arrivals.clone(),
            leisurely: leisurely.clone(),
        };
        let begun = writer.begin();
        let (inbox, writer) = begun.map_err(cannot("begin a thread for", &settings.path))?;
        Ok(Arc::new(Self {
            readers: Arc::new(Readers::of(settings.clone())),
            settings,
            chain_key,
            in_use: Mutex::new(opened.in_use),
            inbox: Mutex::new(Some(inbox)),
            writer: Mutex::new(Some(writer)),
            commits,
            arrivals,
            leisurely,
            clock,
            whole_check: WholeCheck::default(),
        }))
    }

    /// Checks the whole file while it is used. Only an SQLite database has one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]. Others if it can't be checked.
    pub(crate) async fn check_in_use(&self) -> Result<Checked, StoreError> {
        self.whole_check.run(self.settings.clone()).await
    }

    /// Takes no more changes, finishes those that wait and closes the database.
    pub async fn close(&self) {
        drop(take(&self.inbox));
        self.whole_check.end().await;
        self.readers.close().await;
        if let Some(writer) = take(&self.writer)
            && !matches!(spawn_blocking(move || writer.join()).await, Ok(Ok(())))
        {
            tracing::error!("the store's writer ended badly");
        }
        drop(take(&self.in_use));
    }

    /// How many transactions this store has committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// How many changes wait for the writer.
    #[cfg(test)]
    pub(crate) fn waiting_changes(&self) -> usize {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox
            .as_ref()
            .map_or(0, |inbox| inbox.max_capacity() - inbox.capacity())
    }

    /// All that has fallen due so far.
    #[cfg(test)]
    pub(crate) fn arrived(&self) -> super::due::Due {
        self.arrivals.arrived()
    }

    /// How many looks for work wait until some falls due.
    #[cfg(test)]
    pub(crate) fn waiting_looks(&self) -> usize {
        self.arrivals.waiting()
    }

    /// The clock of the database, by which several gateways go. It is set when the store is open.
    pub(crate) fn clock(&self) -> Arc<SharedClock> {
        self.clock.clone()
    }

    pub(crate) fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// The audit log's key, with those before it as they were when the store was opened.
    pub(crate) fn chain_key(&self) -> Option<Arc<ChainKey>> {
        self.chain_key.clone()
    }

    /// Makes a change, whole or not at all, and waits for its commit. `apply` may run twice. What
    /// it changed the first time is undone before.
    pub(crate) async fn change<T, F>(&self, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Changes<'_>) -> Result<T, Failure> + Send + 'static,
    {
        changes::submit(&self.inbox()?, apply).await
    }

    /// The same, if nobody waits for it: it waits a moment for the commit of another change.
    pub(crate) async fn change_at_leisure<T, F>(&self, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Changes<'_>) -> Result<T, Failure> + Send + 'static,
    {
        changes::submit_at_leisure(&self.inbox()?, &self.leisurely, apply).await
    }

    fn inbox(&self) -> Result<Inbox, StoreError> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.clone().ok_or(StoreError::Closed)
    }

    /// Looks for work of a kind in the transaction that makes some due, whoever's change it is, and
    /// within about a second of any commit of another store. None if some was made due after
    /// `since`, or if `until` ends first. Dropped before its end it may leave work leased.
    pub(crate) async fn look_when_due<T, F>(
        &self,
        kind: Kind,
        since: Idle,
        look: F,
        until: impl Future<Output = ()>,
    ) -> Result<Option<Looked<T>>, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Changes<'_>) -> Result<Looked<T>, Failure> + Send + 'static,
    {
        let (job, mut answer) = changes::job(look);
        let Some(place) = self.arrivals.wait(kind, since, job) else {
            return Ok(None);
        };
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = until => match place.leave() {
                true => return Ok(None),
                false => answer.await,
            }
        };
        answered.map_err(|_| StoreError::Closed)?.map(Some)
    }

    /// Reads in one transaction: everything is from one moment.
    pub(crate) async fn read<T, F>(&self, look: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    {
        let read = self.readers.read(look).await.ok_or(StoreError::Closed)?;
        read.map_err(|error| self.failed(error))
    }

    /// The failure with the path of the database.
    pub(crate) fn failed(&self, failure: impl Into<Failure>) -> StoreError {
        failure.into().of(&self.settings)
    }
}

fn take<T>(option: &Mutex<Option<T>>) -> Option<T> {
    option.lock().unwrap_or_else(PoisonError::into_inner).take()
}
