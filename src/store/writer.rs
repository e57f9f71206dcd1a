//! The one task that writes. Intents queue for it; it applies all that wait in
//! one transaction, so that they share a commit and its sync, and answers when
//! the commit is done. It may not know what an intent does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{Notify, mpsc};

use super::error::Failure;
use super::intent::{Changes, Job};
use super::open;
use super::settings::StoreSettings;
use crate::audit::ChainKey;

/// How many intents may wait, and so how many may share a commit.
pub(super) const QUEUE: usize = 128;

/// The writer.
pub(super) struct Writer {
    pub(super) settings: Arc<StoreSettings>,
    pub(super) chain_key: Option<Arc<ChainKey>>,
    /// None after a failure, to be opened again when it is needed.
    pub(super) connection: Option<SqliteConnection>,
    pub(super) commits: Arc<AtomicU64>,
    pub(super) work_arrived: Arc<Notify>,
}

impl Writer {
    /// Works until the last inbox is dropped and all that waited is done.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        let mut batch = Vec::with_capacity(QUEUE);
        while waiting.recv_many(&mut batch, QUEUE).await > 0 {
            let outcome = self.commit(&mut batch).await;
            let outcome = outcome.map_err(|failure| failure.of(&self.settings));
            for job in batch.drain(..) {
                let makes_work = outcome.is_ok() && job.makes_work();
                job.answer(&outcome, &self.settings);
                if makes_work {
                    self.work_arrived.notify_waiters();
                }
            }
        }
        self.close().await;
    }

    async fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => open::writer_options(&self.settings).connect().await?,
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

    async fn transact(
        &self,
        connection: &mut SqliteConnection,
        batch: &mut [Box<dyn Job>],
    ) -> Result<(), Failure> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for job in batch {
            self.apply(&mut transaction, job.as_mut()).await?;
        }
        transaction.commit().await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Applies one job in a savepoint, so that its failure leaves the others
    /// alone.
    async fn apply(
        &self,
        transaction: &mut SqliteConnection,
        job: &mut dyn Job,
    ) -> Result<(), Failure> {
        let mut savepoint = transaction.begin().await?;
        let mut changes = Changes {
            connection: &mut savepoint,
            settings: &self.settings,
            chain_key: self.chain_key.as_deref(),
        };
        job.apply(&mut changes).await;
        match job.failure() {
            None => Ok(savepoint.commit().await?),
            // On some failures SQLite rolls everything back by itself. The
            // savepoint is gone then, and the batch fails for this job's reason.
            Some(failure) => savepoint.rollback().await.map_err(|_| failure.clone()),
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use sqlx::sqlite::SqliteRow;
    use sqlx::{Row, SqlSafeStr};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::super::error::StoreError;
    use super::super::intent::Intent;
    use super::super::testing::{HOLD, TestStore, at, id, request};
    use super::super::{Accepted, NewRequest, SqliteStore, Store};
    use super::*;

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
        let test = TestStore::new().await;
        let release = hold(&test.store).await;
        let first = ask(&test.store, request(1));
        let wrong = Execute("DELETE FROM requests; INSERT INTO audit VALUES (9, 'x', 'y')");
        let wrong = ask(&test.store, wrong);
        let second = ask(&test.store, request(2));
        wait_for_queue(&test.store, 3).await;
        release.send(()).unwrap();

        assert!(matches!(
            wrong.await.unwrap(),
            Err(StoreError::Sqlite { .. })
        ));
        for accepted in [first, second] {
            assert_eq!(accepted.await.unwrap().unwrap(), Accepted::New);
        }
        assert_eq!(test.store.commits(), 2);
        assert_eq!(test.store.spool_usage().await.unwrap().requests, 2);
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
        let work_arrived = test.store.work_arrived();
        let waiting = tokio::spawn(async move { work_arrived.notified().await });
        test.store.accept(request(1)).await.unwrap();
        waiting.await.unwrap();
        assert_eq!(test.lease(at(1)).await.unwrap().id, id(1));
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
