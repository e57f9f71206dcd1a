//! The one thread that writes. Changes queue for it. The writer applies all that wait in one
//! transaction, so that they share a commit and its sync, and answers after the commit. Between
//! batches it looks for commits of other processes. Knows no table.

use std::io;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::arrivals::Arrivals;
use super::changes::{Changes, Inbox, Job, Leisurely, Work};
use super::connection::Connection;
use super::due::{Due, Kind};
use super::error::Failure;
use super::postgresql::Begun;
use super::settings::{NEWEST_SCHEMA, StoreSettings};
use super::shared_clock::SharedClock;
use crate::audit::ChainKey;
use crate::measures::{BATCH_SIZE, COMMIT_FAILURES, COMMIT_TIME};

/// Changes that may wait, and so share a commit.
pub(super) const QUEUE: usize = 128;

/// Changes that are worth a commit, which costs little more for them than for one.
const FULL_ENOUGH: usize = 8;

/// Time for which fewer than these wait for others, if those before them had company.
const GATHERING: Duration = Duration::from_millis(4);

/// Interval between looks for commits of others. A look reads shared memory, not the disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The end of a transaction that did not fail.
enum Ended {
    Committed,
    /// Nothing was to be committed. Other gateways would take a commit for work.
    Undone,
}

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
    pub(super) leisurely: Arc<Leisurely>,
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
        let mut had_company = false;
        self.look_for_others();
        while waiting.blocking_recv_many(&mut taken, QUEUE) > 0 {
            if had_company && taken.len() < FULL_ENOUGH {
                thread::sleep(GATHERING);
                let room = QUEUE - taken.len();
                taken.extend(iter::from_fn(|| waiting.try_recv().ok()).take(room));
            }
            had_company = taken.len() > 1;
            let mut batch = Vec::with_capacity(taken.len());
            let mut is_to_look = false;
            for work in taken.drain(..) {
                match work {
                    Work::Change(job) => batch.push(job),
                    Work::Leisurely => {}
                    Work::Look => is_to_look = true,
                }
            }
            self.work_on(batch, Due::default());
            if is_to_look {
                self.look_for_others();
            }
        }
        self.work_on(Vec::new(), Due::default());
        self.close();
    }

    /// Makes these changes and those at leisure, and gives work to the looks that wait. So much is
    /// due from elsewhere.
    fn work_on(&mut self, mut batch: Vec<Box<dyn Job>>, due: Due) {
        // Last, since they may look for work that the others make due.
        batch.append(&mut self.leisurely.take());
        if batch.is_empty() && (due == Due::default() || self.arrivals.waiting() == 0) {
            self.arrivals.count(due);
            return;
        }
        let begun = Instant::now();
        let outcome = self.commit(&mut batch, due);
        measure(batch.len(), begun.elapsed(), outcome.is_ok());
        let outcome = outcome.map_err(|failure| failure.of(&self.settings));
        for job in batch {
            job.answer(&outcome, &self.settings);
        }
    }

    /// Looks for work if an operator's command or another gateway has committed.
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
            self.work_on(Vec::new(), Due::ANYTHING);
        }
    }

    fn commit(&mut self, batch: &mut Vec<Box<dyn Job>>, due: Due) -> Result<(), Failure> {
        let (mut connection, begun) = self.begin_transaction()?;
        let outcome = self
            .heed(begun, due)
            .and_then(|due| self.transact(&mut connection, batch, due));
        match outcome {
            // The database may have rolled everything back by itself.
            Err(_) => drop(connection.run("ROLLBACK")),
            Ok(Ended::Undone) => {}
            Ok(Ended::Committed) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                if begun.is_some() {
                    self.seen = self.seen.map(|seen| seen + 1);
                }
            }
        }
        let is_sound = match &outcome {
            Ok(_) => !batch
                .iter()
                .filter_map(|job| job.failure())
                .any(Failure::spoils_connection),
            Err(failure) => failure.is_busy(),
        };
        self.keep(connection, is_sound);
        outcome.map(drop)
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
    /// that has the former secrets or an older schema changes nothing any more. Returns what is due.
    fn heed(&mut self, begun: Option<Begun>, due: Due) -> Result<Due, Failure> {
        let Some(begun) = begun else {
            return Ok(due);
        };
        self.clock.note(begun.asked, begun.now);
        if begun.usable_from > NEWEST_SCHEMA {
            return Err(Failure::Schema(begun.usable_from));
        }
        if self.secrets.is_some_and(|known| known != begun.secrets) {
            return Err(Failure::SecretsChanged);
        }
        let before = begun.commits - 1;
        let is_new = self.seen.replace(before).is_some_and(|seen| seen != before);
        Ok(if is_new { Due::ANYTHING } else { due })
    }

    fn transact(
        &mut self,
        connection: &mut Connection,
        batch: &mut Vec<Box<dyn Job>>,
        due: Due,
    ) -> Result<Ended, Failure> {
        let mut before = connection.changes();
        if let Err(failure) = self.apply_all(batch, due, Self::apply, connection) {
            undo("ROLLBACK", &failure, connection)?;
            if batch.len() == 1 {
                return Ok(Ended::Undone);
            }
            let begun = connection.begin(&self.settings)?;
            let due = self.heed(begun, due)?;
            before = connection.changes();
            self.apply_all(batch, due, Self::apply_apart, connection)?;
        }
        if connection.changes() == before {
            connection.run("ROLLBACK")?;
            return Ok(Ended::Undone);
        }
        connection.run("COMMIT")?;
        Ok(Ended::Committed)
    }

    /// Applies the jobs of a batch, and then those that wait for what is due now. They join it.
    fn apply_all(
        &self,
        batch: &mut Vec<Box<dyn Job>>,
        mut due: Due,
        apply: impl Fn(&Self, &mut dyn Job, &mut Due, &mut Connection) -> Result<(), Failure>,
        connection: &mut Connection,
    ) -> Result<(), Failure> {
        for job in batch.iter_mut() {
            apply(self, job.as_mut(), &mut due, connection)?;
        }
        self.arrivals.count(due);
        for kind in Kind::ALL {
            while due.of(kind) > 0
                && let Some(mut job) = self.arrivals.next(kind)
            {
                let applied = apply(self, job.as_mut(), &mut due, connection);
                batch.push(job);
                applied?;
            }
        }
        Ok(())
    }

    /// Applies a job without a savepoint, for which SQLite copies each page that the job changes. A
    /// job that is refused before it changes anything leaves the others alone. After any other
    /// failure nothing may be committed.
    fn apply(
        &self,
        job: &mut dyn Job,
        due: &mut Due,
        connection: &mut Connection,
    ) -> Result<(), Failure> {
        let before = connection.changes();
        let chain_key = self.chain_key.as_deref();
        let mut changes = Changes::on(connection, &self.settings, chain_key);
        changes.due = *due;
        changes.arrived = self.arrivals.arrived();
        job.apply(&mut changes);
        let due_then = changes.due;
        match job.failure() {
            None => *due = due_then,
            Some(failure) if failure.is_refusal() && connection.changes() == before => {}
            Some(failure) => return Err(failure.clone()),
        }
        Ok(())
    }

    /// Applies a job in a savepoint, so that its failure leaves the others alone whatever it
    /// changed.
    fn apply_apart(
        &self,
        job: &mut dyn Job,
        due: &mut Due,
        connection: &mut Connection,
    ) -> Result<(), Failure> {
        connection.run("SAVEPOINT job")?;
        match self.apply(job, due, connection) {
            Ok(()) => Ok(connection.run("RELEASE job")?),
            Err(failure) => undo("ROLLBACK TO job; RELEASE job", &failure, connection),
        }
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
    statements: &'static str,
    failure: &Failure,
    connection: &mut Connection,
) -> Result<(), Failure> {
    connection.run(statements).map_err(|_| failure.clone())
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
