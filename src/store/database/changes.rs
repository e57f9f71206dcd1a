//! A change on its way to the writer, and its answer on the way back.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::connection::Connection;
use super::due::{Due, Idle};
use super::error::{Failure, StoreError};
use super::settings::StoreSettings;
use crate::audit::ChainKey;

/// A change of the database in the making: all of it is committed, or nothing.
pub(crate) struct Changes<'a> {
    /// The connection, inside the transaction.
    pub(crate) connection: &'a mut Connection,
    pub(crate) settings: &'a StoreSettings,
    pub(crate) chain_key: Option<&'a ChainKey>,
    /// How much is due that was not when the transaction began.
    pub(crate) due: Due,
    /// All that had fallen due before it.
    pub(crate) arrived: Due,
}

impl<'a> Changes<'a> {
    pub(crate) fn on(
        connection: &'a mut Connection,
        settings: &'a StoreSettings,
        chain_key: Option<&'a ChainKey>,
    ) -> Self {
        Self {
            connection,
            settings,
            chain_key,
            due: Due::default(),
            arrived: Due::default(),
        }
    }

    /// The moment at which a look finds no work. Some falls due at `next_due`, or before if it
    /// arrives.
    pub(crate) fn idle(&self, next_due: Option<Timestamp>) -> Idle {
        Idle {
            next_due,
            arrived: self.arrived,
        }
    }
}

/// Time for which a change waits for the commit of others, if it is made at leisure.
const LEISURE: Duration = Duration::from_millis(5);

/// The changes that wait for the next batch, whoever asks for it.
#[derive(Default)]
pub(super) struct Leisurely(Mutex<Vec<Box<dyn Job>>>);

impl Leisurely {
    fn add(&self, job: Box<dyn Job>) {
        self.lock().push(job);
    }

    pub(super) fn take(&self) -> Vec<Box<dyn Job>> {
        mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Box<dyn Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the writer.
pub(super) type Inbox = mpsc::Sender<Work>;

/// What the writer is asked for.
pub(super) enum Work {
    Change(Box<dyn Job>),
    /// To make the changes that wait at leisure.
    Leisurely,
    /// To look for commits of others.
    Look,
}

/// Hands a change to the writer and waits for its commit. A change that fails is undone whole.
pub(super) async fn submit<T, F>(inbox: &Inbox, apply: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnMut(&mut Changes<'_>) -> Result<T, Failure> + Send + 'static,
{
    let (job, answer) = job(apply);
    inbox
        .send(Work::Change(job))
        .await
        .map_err(|_| StoreError::Closed)?;
    answer.await.map_err(|_| StoreError::Closed)?
}

/// Leaves a change for the next batch. Has one made for it after a moment, if none came.
pub(super) async fn submit_at_leisure<T, F>(
    inbox: &Inbox,
    leisurely: &Leisurely,
    apply: F,
) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnMut(&mut Changes<'_>) -> Result<T, Failure> + Send + 'static,
{
    let (job, mut answer) = job(apply);
    leisurely.add(job);
    let answered = match timeout(LEISURE, &mut answer).await {
        Ok(answered) => answered,
        Err(_) => {
            let sent = inbox.send(Work::Leisurely).await;
            sent.map_err(|_| StoreError::Closed)?;
            answer.await
        }
    };
    answered.map_err(|_| StoreError::Closed)?
}

/// A change for the writer, and where its answer arrives.
pub(super) fn job<T, F>(apply: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnMut(&mut Changes<'_>) -> Result<T, Failure> + Send + 'static,
{
    let (answer_to, answer) = oneshot::channel();
    let job = Waiting {
        apply,
        applied: None,
        answer_to,
    };
    (Box::new(job), answer)
}

/// A change together with the way back to its caller.
pub(super) trait Job: Send {
    /// Applies the change and keeps the answer back. After a rollback it is applied again, and only
    /// the second answer counts.
    fn apply(&mut self, changes: &mut Changes<'_>);

    fn failure(&self) -> Option<&Failure>;

    /// Answers the caller, now that the outcome of the batch is known.
    fn answer(self: Box<Self>, batch: &Result<(), StoreError>, settings: &StoreSettings);
}

struct Waiting<T, F> {
    apply: F,
    applied: Option<Result<T, Failure>>,
    answer_to: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Waiting<T, F>
where
    T: Send,
    F: FnMut(&mut Changes<'_>) -> Result<T, Failure> + Send,
{
    fn apply(&mut self, changes: &mut Changes<'_>) {
        self.applied = Some((self.apply)(changes));
    }

    fn failure(&self) -> Option<&Failure> {
        self.applied.as_ref()?.as_ref().err()
    }

    fn answer(self: Box<Self>, batch: &Result<(), StoreError>, settings: &StoreSettings) {
        let answer = match (batch, self.applied) {
            (Err(error), _) => Err(error.clone()),
            (Ok(()), Some(applied)) => applied.map_err(|failure| failure.of(settings)),
            (Ok(()), None) => Err(StoreError::Closed),
        };
        // The caller may have gone away. The change stands.
        let _ = self.answer_to.send(answer);
    }
}
