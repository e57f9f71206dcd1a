//! The one task that writes. Intents queue for it; it applies all that wait in
//! one transaction, so that they share a commit and its sync, and answers when
//! the commit is done. Between batches it looks whether others have committed.
//! It may not know what an intent does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::arrivals::{Arrivals, Due};
use super::error::Failure;
use super::intent::{Changes, Job};
use super::open;
use super::settings::StoreSettings;
use crate::audit::ChainKey;
use crate::measures::{BATCH_SIZE, COMMIT_FAILURES, COMMIT_TIME};

/// How many intents may wait, and so how many may share a commit.
pub(super) const QUEUE: usize = 128;

/// How often others' commits are looked for. It costs a look at shared memory,
/// none at the disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The writer.
pub(super) struct Writer {
    pub(super) settings: Arc<StoreSettings>,
    pub(super) chain_key: Option<Arc<ChainKey>>,
    /// None after a failure, to be opened again when it is needed.
    pub(super) connection: Option<SqliteConnection>,
    /// What the connection last said of others' commits.
    pub(super) seen: Option<i64>,
    pub(super) commits: Arc<AtomicU64>,
    pub(super) arrivals: Arc<Arrivals>,
}

impl Writer {
    /// Works until the last inbox is dropped and all that waited is done.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        let mut batch = Vec::with_capacity(QUEUE);
        self.look_for_others().await;
        let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                taken = waiting.recv_many(&mut batch, QUEUE) => match taken {
                    0 => break,
                    _ => self.work_on(&mut batch).await,
                },
                _ = looks.tick() => self.look_for_others().await,
            }
        }
        self.close().await;
    }

    async fn work_on(&mut self, batch: &mut Vec<Box<dyn Job>>) {
        let begun = Instant::now();
        let outcome = self.commit(batch).await;
        measure(batch.len(), begun.elapsed(), outcome.is_ok());
        let outcome = outcome.map_err(|failure| failure.of(&self.settings));
        for job in batch.drain(..) {
            let due = job.due();
            job.answer(&outcome, &self.settings);
            if outcome.is_ok() {
                self.arrivals.tell(due);
            }
        }
    }

    /// An operator's command, or another gateway, may have made something due.
    /// On this connection SQLite counts all commits but its own.
    async fn look_for_others(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let version = sqlx::query_scalar("PRAGMA data_version");
        // Whatever is wrong shows at the next change.
        let Ok(version) = version.fetch_one(connection).await else {
            return;
        };
        // A new connection counts from anywhere.
        if self
            .seen
            .replace(version)
            .is_some_and(|seen| seen != version)
        {
            self.arrivals.tell(Due::ANYTHING);
        }
    }

    async fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.seen = None;
                open::writer_options(&self.settings).connect().await?
            }
        };
        let outcome = self.transact(&mut connection, batch).await;
        let sound = match &outcome {
            Ok(()) => !batch
                .iter()
                .filter_map(|job| job.failure())
                .any(Failure::spoils_connection),
            Err(failure) => failure.is_busy(),
        };
        if sound {
            self.connection = Some(connection);
        } else {
            // Closing can only fail for the reason known already.
            let _ = connection.close().await;
        }
        outcome
    }

    /// By statements, where sqlx has transactions: begin and end of each of those
    /// wait for SQLite's thread twice, so that a future that is dropped leaves
    /// none open. This one isn't dropped.
    async fn transact(
        &self,
        connection: &mut SqliteConnection,
        batch: &mut [Box<dyn Job>],
    ) -> Result<(), Failure> {
        let outcome = match &mut *batch {
            [alone] => {
                run("BEGIN IMMEDIATE", connection).await?;
                self.apply_alone(alone.as_mut(), connection).await
            }
            several => {
                run("BEGIN IMMEDIATE; SAVEPOINT job", connection).await?;
                self.apply_all(several, connection).await
            }
        };
        if outcome.is_err() {
            // What failed may have rolled everything back by itself.
            let _ = run("ROLLBACK", connection).await;
        } else if batch.iter().any(|job| job.failure().is_none()) {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// A job that is alone in its transaction needs no savepoint.
    async fn apply_alone(
        &self,
        job: &mut dyn Job,
        connection: &mut SqliteConnection,
    ) -> Result<(), Failure> {
        self.apply(job, connection).await;
        match job.failure() {
            None => run("COMMIT", connection).await,
            Some(failure) => undo("ROLLBACK", failure, connection).await,
        }
    }

    /// Each in a savepoint, so that its failure leaves the others alone. The end
    /// of one and the begin of the next go to SQLite's thread as one; the commit
    /// ends the last.
    async fn apply_all(
        &self,
        batch: &mut [Box<dyn Job>],
        connection: &mut SqliteConnection,
    ) -> Result<(), Failure> {
        for job in batch {
            self.apply(job.as_mut(), connection).await;
            match job.failure() {
                None => run("RELEASE job; SAVEPOINT job", connection).await?,
                // The savepoint stays, and is the next job's.
                Some(failure) => undo("ROLLBACK TO job", failure, connection).await?,
            }
        }
        run("COMMIT", connection).await
    }

    async fn apply(&self, job: &mut dyn Job, connection: &mut SqliteConnection) {
        let chain_key = self.chain_key.as_deref();
        let mut changes = Changes::on(connection, &self.settings, chain_key);
        job.apply(&mut changes).await;
    }

    /// Moves the write-ahead log into the database. Failing here loses nothing:
    /// whoever opens the database next reads the log.
    async fn close(self) {
        let Some(mut connection) = self.connection else {
            return;
        };
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
        if let Err(error) = checkpoint.execute(&mut connection).await {
            tracing::warn!(path = %self.settings.path.display(), %error, "store not checkpointed");
        }
        if let Err(error) = connection.close().await {
            tracing::warn!(path = %self.settings.path.display(), %error, "store not closed");
        }
    }
}

async fn run(statement: &'static str, connection: &mut SqliteConnection) -> Result<(), Failure> {
    sqlx::query(statement).execute(connection).await?;
    Ok(())
}

/// Undoes a job that failed. On some failures SQLite rolls everything back by
/// itself: there is nothing to undo then, and the batch fails for this job's reason.
async fn undo(
    statement: &'static str,
    failure: &Failure,
    connection: &mut SqliteConnection,
) -> Result<(), Failure> {
    let undone = run(statement, connection).await;
    undone.map_err(|_| failure.clone())
}

/// A batch of so many changes took so long.
fn measure(changes: usize, took: Duration, is_committed: bool) {
    match is_committed {
        true => {
            COMMIT_TIME.only().record(took);
            BATCH_SIZE.only().record(changes as f64);
        }
        false => COMMIT_FAILURES.only().increment(1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;
    use sqlx::sqlite::SqliteRow;
    use sqlx::{Row, SqlSafeStr};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::super::error::StoreError;
    use super::super::intent::Intent;
    use super::super::testing::{HOLD, TestStore, at, id, request};
    use super::super::{Accepted, NewRequest, SqliteStore, Store};
    use super::*;
    use crate::audit::{Entry, Event};

    /// Statements on the writing connection, in the transaction.
    struct Execute(&'static str);

    impl Intent for Execute {
        type Answer = ();

        async fn apply(self, changes: &mut Changes<'_>) -> Result<(), Failure> {
            sqlx::raw_sql(self.0)
                .execute(&mut *changes.connection)
                .await?;
            Ok(())
        }
    }

    /// One row as the writing connection sees it.
    struct Read(&'static str);

    impl Intent for Read {
        type Answer = SqliteRow;

        async fn apply(self, changes: &mut Changes<'_>) -> Result<SqliteRow, Failure> {
            Ok(sqlx::query(self.0.into_sql_str())
                .fetch_one(&mut *changes.connection)
                .await?)
        }
    }

    /// Holds the write lock as another process may.
    struct Lock(SqliteConnection);

    impl Lock {
        async fn on(test: &TestStore) -> Self {
            let mut connection = test.sqlite3().await;
            sqlx::query("BEGIN IMMEDIATE")
                .execute(&mut connection)
                .await
                .unwrap();
            Self(connection)
        }

        async fn release(mut self) {
            sqlx::query("ROLLBACK").execute(&mut self.0).await.unwrap();
            self.0.close().await.unwrap();
        }
    }

    /// Keeps the writer busy with a batch of its own.
    struct Hold {
        begun: oneshot::Sender<()>,
        end: oneshot::Receiver<()>,
    }

    impl Intent for Hold {
        type Answer = ();

        async fn apply(self, _: &mut Changes<'_>) -> Result<(), Failure> {
            self.begun.send(()).unwrap();
            self.end.await.unwrap();
            Ok(())
        }
    }

    /// The writer is busy until the sender is used: what is asked meanwhile
    /// becomes one batch.
    async fn hold(store: &Arc<SqliteStore>) -> oneshot::Sender<()> {
        let (begun, has_begun) = oneshot::channel();
        let (release, end) = oneshot::channel();
        ask(store, Hold { begun, end });
        has_begun.await.unwrap();
        release
    }

    /// Asks for a change without waiting for it.
    fn ask<I: Intent>(
        store: &Arc<SqliteStore>,
        intent: I,
    ) -> JoinHandle<Result<I::Answer, StoreError>> {
        let store = store.clone();
        tokio::spawn(async move { store.change(intent).await })
    }

    async fn wait_for_queue(store: &SqliteStore, length: usize) {
        while store.waiting_changes() != length {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn changes_that_wait_share_a_commit() {
        let test = TestStore::new().await;
        let release = hold(&test.store).await;
        let accepting: Vec<_> = (0..64)
            .map(|number| ask(&test.store, request(number)))
            .collect();
        wait_for_queue(&test.store, 64).await;
        release.send(()).unwrap();
        for accepted in accepting {
            assert_eq!(accepted.await.unwrap().unwrap(), Accepted::New);
        }
        assert_eq!(
            test.store.commits(),
            2,
            "the one that held the writer, and the 64"
        );
        assert_eq!(test.store.spool_usage().await.unwrap().requests, 64);
    }

    #[tokio::test]
    async fn a_change_that_fails_leaves_its_batch_alone() {
        for place in 0..3 {
            let test = TestStore::new().await;
            let release = hold(&test.store).await;
            let mut accepting = Vec::new();
            let mut failing = None;
            for number in 0..3 {
                if number == place {
                    let wrong = "DELETE FROM requests; INSERT INTO audit VALUES (9, 'x', 'y')";
                    failing = Some(ask(&test.store, Execute(wrong)));
                } else {
                    accepting.push(ask(&test.store, request(number)));
                }
            }
            wait_for_queue(&test.store, 3).await;
            release.send(()).unwrap();

            let failed = failing.unwrap().await.unwrap();
            assert!(matches!(failed, Err(StoreError::Sqlite { .. })), "{place}");
            for accepted in accepting {
                assert_eq!(accepted.await.unwrap().unwrap(), Accepted::New, "{place}");
            }
            assert_eq!(test.store.commits(), 2, "{place}");
            assert_eq!(
                test.store.spool_usage().await.unwrap().requests,
                2,
                "{place}"
            );
        }
    }

    #[tokio::test]
    async fn a_failed_commit_fails_for_all_and_the_next_succeeds() {
        let test = TestStore::new().await;
        let release = hold(&test.store).await;
        // A foreign key that is only missed at the commit.
        let spoil = Execute(
            "PRAGMA defer_foreign_keys = ON; INSERT INTO request_messages VALUES (999, x'00')",
        );
        let spoil = ask(&test.store, spoil);
        let accept = ask(&test.store, request(1));
        wait_for_queue(&test.store, 2).await;
        release.send(()).unwrap();

        assert!(matches!(
            spoil.await.unwrap(),
            Err(StoreError::Sqlite { .. })
        ));
        assert!(matches!(
            accept.await.unwrap(),
            Err(StoreError::Sqlite { .. })
        ));
        assert_eq!(test.store.spool_usage().await.unwrap().requests, 0);
        assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);
    }

    #[tokio::test]
    async fn a_lock_held_too_long_is_an_error_that_names_the_remedy() {
        let test =
            TestStore::with(|settings| settings.busy_timeout = Duration::from_millis(20)).await;
        let lock = Lock::on(&test).await;
        let error = test.store.accept(request(1)).await.unwrap_err().to_string();
        let path = test.settings.path.display().to_string();
        assert!(
            error.contains(&path) && error.contains("keeps the database locked"),
            "{error}"
        );
        lock.release().await;
        assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_is_written_again_when_it_can() {
        let test = TestStore::new().await;
        test.store
            .change(Execute("PRAGMA query_only = ON"))
            .await
            .unwrap();
        let error = test.store.accept(request(1)).await.unwrap_err().to_string();
        assert!(error.contains("writable"), "{error}");
        assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);
    }

    #[tokio::test]
    async fn a_full_disk_is_survived() {
        let test = TestStore::new().await;
        let large = || NewRequest {
            message: vec![0; 1 << 20],
            ..request(2)
        };
        test.store.accept(request(1)).await.unwrap();
        test.store
            .change(Execute("PRAGMA max_page_count = 1"))
            .await
            .unwrap();
        let error = test.store.accept(large()).await.unwrap_err().to_string();
        assert!(error.contains("make room"), "{error}");
        assert_eq!(test.store.spool_usage().await.unwrap().requests, 1);
        assert_eq!(test.store.accept(large()).await.unwrap(), Accepted::New);
        assert!(test.store.verify_audit(None).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn closing_finishes_what_waits_and_takes_nothing_more() {
        let test = TestStore::new().await;
        let release = hold(&test.store).await;
        let accepting: Vec<_> = (0..20)
            .map(|number| ask(&test.store, request(number)))
            .collect();
        wait_for_queue(&test.store, 20).await;
        let store = test.store.clone();
        let closing = tokio::spawn(async move { store.close().await });
        wait_for_queue(&test.store, 0).await;
        assert!(matches!(
            test.store.accept(request(99)).await,
            Err(StoreError::Closed)
        ));
        release.send(()).unwrap();
        closing.await.unwrap();

        for accepted in accepting {
            assert_eq!(accepted.await.unwrap().unwrap(), Accepted::New);
        }
        assert!(matches!(
            test.store.spool_usage().await,
            Err(StoreError::Closed)
        ));
        let log = format!("{}-wal", test.settings.path.display());
        assert!(
            !std::fs::exists(log).unwrap(),
            "the write-ahead log is in the database"
        );
        assert_eq!(
            test.another().await.spool_usage().await.unwrap().requests,
            20
        );
    }

    #[tokio::test]
    async fn what_was_accepted_survives_a_crash() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        let test = test.after_crash().await;
        assert!(test.lease(at(2)).await.is_none(), "the lease holds");
        let again = test.lease(at(1) + HOLD).await.unwrap();
        assert_eq!(again.message, leased.message);
        let head = test.store.verify_audit(None).await.unwrap();
        assert_eq!(head.unwrap().sequence, 1);
    }

    #[tokio::test]
    async fn whoever_waits_for_work_is_woken_after_the_commit() {
        let test = TestStore::new().await;
        let arrivals = test.store.arrivals();
        let waiting = tokio::spawn(async move { arrivals.request().await });
        test.store.accept(request(1)).await.unwrap();
        waiting.await.unwrap();
        assert_eq!(test.lease(at(1)).await.unwrap().id, id(1));
    }

    #[tokio::test]
    async fn whoever_waits_for_work_is_woken_by_another_process() {
        let test = TestStore::new().await;
        let another = test.another().await;
        let arrivals = test.store.arrivals();
        // With its answer the first look is over.
        test.store
            .note_rejected(Entry::new(at(1), Event::Judged))
            .await
            .unwrap();
        let waiting = tokio::spawn(async move { arrivals.request().await });
        another.accept(request(1)).await.unwrap();
        waiting.await.unwrap();
        assert_eq!(test.lease(at(1)).await.unwrap().id, id(1));
    }

    #[tokio::test]
    async fn a_look_finds_what_others_committed_and_nothing_of_its_own() {
        let test = TestStore::new().await;
        let mut writer = Writer {
            settings: Arc::new(test.settings.clone()),
            chain_key: None,
            connection: Some(test.sqlite3().await),
            seen: None,
            commits: Arc::default(),
            arrivals: Arc::default(),
        };
        let arrivals = writer.arrivals.clone();
        let mut look = async |statement: &'static str| {
            let connection = writer.connection.as_mut().unwrap();
            sqlx::query(statement).execute(connection).await.unwrap();
            writer.look_for_others().await;
            arrivals.request().now_or_never().is_some()
        };
        assert!(!look("SELECT 1").await, "the first look");
        assert!(!look("SELECT 1").await);
        assert!(!look("UPDATE kms_revision SET revision = 7").await);
        test.store.accept(request(1)).await.unwrap();
        assert!(look("UPDATE kms_revision SET revision = 8").await);
        assert!(!look("SELECT 1").await);
    }

    #[tokio::test]
    async fn every_commit_is_synced_and_what_is_deleted_is_gone() {
        let test = TestStore::new().await;
        test.store
            .change(Execute("PRAGMA query_only = ON"))
            .await
            .unwrap();
        assert!(
            test.store.accept(request(1)).await.is_err(),
            "so that the next one is a new connection"
        );
        for _ in ["opened anew", "kept"] {
            let row = test
                .store
                .change(Read(
                    "SELECT synchronous, journal_mode, foreign_keys, secure_delete
                     FROM pragma_synchronous, pragma_journal_mode, pragma_foreign_keys,
                         pragma_secure_delete",
                ))
                .await
                .unwrap();
            assert_eq!(row.get::<i64, _>(0), 2, "FULL");
            assert_eq!(row.get::<String, _>(1), "wal");
            assert_eq!((row.get::<i64, _>(2), row.get::<i64, _>(3)), (1, 1));
        }
    }
}
