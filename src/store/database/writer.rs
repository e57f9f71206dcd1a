//! The one task that writes. Changes queue for it. The writer applies all that wait in one
//! transaction, so that they share a commit and its sync, and answers after the commit. Between
//! batches it looks for commits of other processes. Knows no table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::arrivals::{Arrivals, Due};
use super::changes::{Changes, Job};
use super::error::Failure;
use super::open;
use super::settings::StoreSettings;
use crate::audit::ChainKey;
use crate::measures::{BATCH_SIZE, COMMIT_FAILURES, COMMIT_TIME};

/// Changes that may wait, and so share a commit.
pub(super) const QUEUE: usize = 128;

/// Interval between looks for commits of others. A look reads shared memory, not the disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) settings: Arc<StoreSettings>,
    pub(super) chain_key: Option<Arc<ChainKey>>,
    /// None after a failure. The next batch opens it again.
    pub(super) connection: Option<SqliteConnection>,
    /// Last value of `PRAGMA data_version`, which counts the commits of others.
    pub(super) seen: Option<i64>,
    pub(super) commits: Arc<AtomicU64>,
    pub(super) arrivals: Arc<Arrivals>,
}

impl Writer {
    /// Works until the last inbox is dropped and every change that waited is done.
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
                self.arrivals.wake(due);
            }
        }
    }

    /// Wakes the worker if an operator's command or another gateway has committed. On this
    /// connection SQLite counts all commits but its own.
    async fn look_for_others(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let version = sqlx::query_scalar("PRAGMA data_version");
        // A failure shows at the next change.
        let Ok(version) = version.fetch_one(connection).await else {
            return;
        };
        // A new connection counts from anywhere.
        if self
            .seen
            .replace(version)
            .is_some_and(|seen| seen != version)
        {
            self.arrivals.wake(Due::ANYTHING);
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

    /// Uses statements rather than sqlx's transactions. Begin and end of those wait for SQLite's
    /// thread twice, so that a dropped future leaves none open. This future is never dropped.
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
            // SQLite may have rolled everything back by itself.
            let _ = run("ROLLBACK", connection).await;
        } else if batch.iter().any(|job| job.failure().is_none()) {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Needs no savepoint, as the job is alone in its transaction.
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

    /// Applies each job in a savepoint, so that its failure leaves the others alone. The end of
    /// one savepoint and the begin of the next go to SQLite's thread together. The commit ends
    /// the last.
    async fn apply_all(
        &self,
        batch: &mut [Box<dyn Job>],
        connection: &mut SqliteConnection,
    ) -> Result<(), Failure> {
        for job in batch {
            self.apply(job.as_mut(), connection).await;
            match job.failure() {
                None => run("RELEASE job; SAVEPOINT job", connection).await?,
                // The savepoint stays, and the next job uses it.
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

    /// Moves the write-ahead log into the database. A failure loses nothing: the next process
    /// that opens the database reads the log.
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

/// Undoes a job that failed. On some failures SQLite rolls everything back by itself. Then there
/// is nothing to undo, and the batch fails for this job's reason.
async fn undo(
    statement: &'static str,
    failure: &Failure,
    connection: &mut SqliteConnection,
) -> Result<(), Failure> {
    let undone = run(statement, connection).await;
    undone.map_err(|_| failure.clone())
}

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
mod tests;
