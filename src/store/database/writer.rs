//! The one thread that writes. Changes queue for it. The writer applies all that wait in one
//! transaction, so that they share a commit and its sync, and answers after the commit. Between
//! batches it looks for commits of other processes. Knows no table.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::arrivals::{Arrivals, Due};
use super::changes::{Changes, Inbox, Job, Work};
use super::connection::Connection;
use super::error::Failure;
use super::postgresql::Begun;
use super::settings::{NEWEST_SCHEMA, StoreSettings};
use super::shared_clock::SharedClock;
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
    pub(super) connection: Option<Connection>,
    /// The last mark of others' commits.
    pub(super) seen: Option<i64>,
    /// How often the secrets had been changed when the store was opened, if several gateways may
    /// use the database.
    pub(super) secrets: Option<i64>,
    pub(super) clock: Arc<SharedClock>,
    pub(super) commits: Arc<AtomicU64>,
    pub(super) arrivals: Arc<Arrivals>,
}

impl Writer {
    /// Begins to write on a thread of its own. Returns the way to it. The thread ends when the last
    /// inbox is dropped and every change that waited is done.
    pub(super) fn begin(self) -> io::Result<(Inbox, JoinHandle<()>)> {
        let (inbox, waiting) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn(move || self.run(waiting))?;
        tokio::spawn(look_regularly(inbox.downgrade()));
        Ok((inbox, thread))
    }

    fn run(mut self, mut waiting: mpsc::Receiver<Work>) {
        let mut taken = Vec::with_capacity(QUEUE);
        self.look_for_others();
        while waiting.blocking_recv_many(&mut taken, QUEUE) > 0 {
            let mut batch = Vec::with_capacity(taken.len());
            let mut is_to_look = false;
            for work in taken.drain(..) {
                match work {
                    Work::Change(job) => batch.push(job),
                    Work::Look => is_to_look = true,
                }
            }
            if !batch.is_empty() {
                self.work_on(batch);
            }
            if is_to_look {
                self.look_for_others();
            }
        }
        self.close();
    }

    fn work_on(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let begun = Instant::now();
        let outcome = self.commit(&mut batch);
        measure(batch.len(), begun.elapsed(), outcome.is_ok());
        let outcome = outcome.map_err(|failure| failure.of(&self.settings));
        for job in batch {
            let due = job.due();
            job.answer(&outcome, &self.settings);
            if outcome.is_ok() {
                self.arrivals.wake(due);
            }
        }
    }

    /// Wakes the worker if an operator's command or another gateway has committed.
    fn look_for_others(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        // A failure shows at the next change.
        let Ok((mark, begun)) = connection.mark_of_others() else {
            return;
        };
        if let Some(begun) = begun {
            self.clock.note(begun.asked, begun.now);
        }
        // A new connection counts from anywhere.
        if self.seen.replace(mark).is_some_and(|seen| seen != mark) {
            self.arrivals.wake(Due::ANYTHING);
        }
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let (mut connection, begun) = self.begin_transaction()?;
        let outcome = self
            .heed(begun)
            .and_then(|()| self.transact(&mut connection, batch));
        if outcome.is_err() {
            // The database may have rolled everything back by itself.
            let _ = connection.run("ROLLBACK");
        } else if batch.iter().any(|job| job.failure().is_none()) {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        let is_sound = match &outcome {
            Ok(()) => !batch
                .iter()
                .filter_map(|job| job.failure())
                .any(Failure::spoils_connection),
            Err(failure) => failure.is_busy(),
        };
        self.keep(connection, is_sound);
        outcome
    }

    /// Begins a transaction. A connection that was lost since the last one is opened again: nothing
    /// is lost with it.
    fn begin_transaction(&mut self) -> Result<(Connection, Option<Begun>), Failure> {
        if let Some(mut connection) = self.connection.take() {
            match connection.begin(&self.settings) {
                Ok(begun) => return Ok((connection, begun)),
                Err(error) if error.is_busy() => {
                    let _ = connection.run("ROLLBACK");
                    self.connection = Some(connection);
                    return Err(error.into());
                }
                Err(_) => self.keep(connection, false),
            }
        }
        self.seen = None;
        let mut connection = Connection::writing(&self.settings)?;
        let begun = connection.begin(&self.settings)?;
        Ok((connection, begun))
    }

    fn keep(&mut self, connection: Connection, is_sound: bool) {
        if is_sound {
            self.connection = Some(connection);
        } else {
            // Closing can only fail for the reason known already.
            let _ = connection.close();
        }
    }

    /// Heeds what others did in the database of several gateways: its time counts, and a gateway
    /// that has the former secrets or an older schema changes nothing any more.
    fn heed(&mut self, begun: Option<Begun>) -> Result<(), Failure> {
        let Some(begun) = begun else {
            return Ok(());
        };
        self.clock.note(begun.asked, begun.now);
        if begun.usable_from > NEWEST_SCHEMA {
            return Err(Failure::Schema(begun.usable_from));
        }
        if self.secrets.is_some_and(|known| known != begun.secrets) {
            return Err(Failure::SecretsChanged);
        }
        let others = |seen| seen + 1 != begun.commits;
        if self.seen.replace(begun.commits).is_some_and(others) {
            self.arrivals.wake(Due::ANYTHING);
        }
        Ok(())
    }

    fn transact(
        &mut self,
        connection: &mut Connection,
        batch: &mut [Box<dyn Job>],
    ) -> Result<(), Failure> {
        if let [alone] = batch {
            return self.apply_alone(alone.as_mut(), connection);
        }
        if let Some(failure) = self.apply_all(batch, connection) {
            undo("ROLLBACK", failure, connection)?;
            let begun = connection.begin(&self.settings)?;
            self.heed(begun)?;
            self.apply_apart(batch, connection)?;
        }
        Ok(connection.run("COMMIT")?)
    }

    /// Needs no savepoint, as the job is alone in its transaction.
    fn apply_alone(&self, job: &mut dyn Job, connection: &mut Connection) -> Result<(), Failure> {
        self.apply(job, connection);
        match job.failure() {
            None => Ok(connection.run("COMMIT")?),
            Some(failure) => undo("ROLLBACK", failure, connection),
        }
    }

    /// Applies the jobs without savepoints, for which SQLite copies each page that a job changes. A
    /// job that is refused before it changes anything leaves the others alone. Returns any other
    /// failure. Nothing may be committed then.
    fn apply_all<'a>(
        &self,
        batch: &'a mut [Box<dyn Job>],
        connection: &mut Connection,
    ) -> Option<&'a Failure> {
        for job in batch {
            let before = connection.changes();
            self.apply(job.as_mut(), connection);
            let is_unchanged = connection.changes() == before;
            if let Some(failure) = job.failure()
                && !(is_unchanged && failure.is_refusal())
            {
                return job.failure();
            }
        }
        None
    }

    /// Applies each job in a savepoint, so that its failure leaves the others alone whatever it
    /// changed. The commit ends the last savepoint.
    fn apply_apart(
        &self,
        batch: &mut [Box<dyn Job>],
        connection: &mut Connection,
    ) -> Result<(), Failure> {
        connection.run("SAVEPOINT job")?;
        for job in batch {
            self.apply(job.as_mut(), connection);
            match job.failure() {
                None => connection.run("RELEASE job; SAVEPOINT job")?,
                // The savepoint stays, and the next job uses it.
                Some(failure) => undo("ROLLBACK TO job", failure, connection)?,
            }
        }
        Ok(())
    }

    fn apply(&self, job: &mut dyn Job, connection: &mut Connection) {
        let chain_key = self.chain_key.as_deref();
        job.apply(&mut Changes::on(connection, &self.settings, chain_key));
    }

    /// A failure loses nothing: the next process that opens the database finds everything.
    fn close(self) {
        let Some(mut connection) = self.connection else {
            return;
        };
        let closed = connection.settle().and_then(|_| connection.close());
        if let Err(error) = closed {
            tracing::warn!(place = self.settings.place(), %error, "store not closed well");
        }
    }
}

/// Has the writer look for commits of others while the store is open.
async fn look_regularly(inbox: mpsc::WeakSender<Work>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The writer looks by itself when it begins.
    looks.tick().await;
    loop {
        looks.tick().await;
        let Some(inbox) = inbox.upgrade() else {
            return;
        };
        if inbox.send(Work::Look).await.is_err() {
            return;
        }
    }
}

/// Undoes a job that failed. On some failures the database rolls everything back by itself. Then
/// there is nothing to undo, and the batch fails for this job's reason.
fn undo(
    statement: &'static str,
    failure: &Failure,
    connection: &mut Connection,
) -> Result<(), Failure> {
    connection.run(statement).map_err(|_| failure.clone())
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
