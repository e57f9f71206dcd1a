//! A change on its way to the writer, and its answer on the way back.

use tokio::sync::{mpsc, oneshot};

use jiff::Timestamp;

use super::arrivals::{Due, Found, Idle};
use super::connection::Connection;
use super::error::{Failure, StoreError};
use super::settings::StoreSettings;
use crate::audit::ChainKey;

/// A change of the database in the making: all of it is committed, or nothing.
pub(crate) struct Changes<'a> {
    /// The connection, inside the transaction.
    pub(crate) connection: &'a mut Connection,
    pub(crate) settings: &'a StoreSettings,
    pub(crate) chain_key: Option<&'a ChainKey>,
    /// How much the change has made due so far.
    pub(crate) due: Due,
    /// All that had fallen due before.
    pub(crate) arrived: Due,
    /// Whether the change is a look for work that found none.
    pub(crate) found_nothing: bool,
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
            found_nothing: false,
        }
    }

    /// What a look finds if no work is due. Some falls due at `next_due`, or before if it arrives.
    pub(crate) fn idle(&self, next_due: Option<Timestamp>) -> Idle {
        Idle {
            next_due,
            arrived: self.arrived,
        }
    }
}

/// The way to the writer.
pub(super) type Inbox = mpsc::Sender<Work>;

/// What the writer is asked for.
pub(super) enum Work {
    Change(Box<dyn Job>),
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

/// A look for work, as a change.
pub(super) fn looking<T>(
    mut look: impl FnMut(&mut Changes<'_>) -> Result<Found<T>, Failure>,
) -> impl FnMut(&mut Changes<'_>) -> Result<Found<T>, Failure> {
    move |changes| {
        let found = look(changes)?;
        changes.found_nothing = matches!(found, Found::Nothing(_));
        Ok(found)
    }
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
        due: Due::default(),
        found_nothing: false,
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

    fn due(&self) -> Due;

    /// Whether it looked for work and found none.
    fn found_nothing(&self) -> bool;
}

struct Waiting<T, F> {
    apply: F,
    applied: Option<Result<T, Failure>>,
    due: Due,
    found_nothing: bool,
    answer_to: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Waiting<T, F>
where
    T: Send,
    F: FnMut(&mut Changes<'_>) -> Result<T, Failure> + Send,
{
    fn apply(&mut self, changes: &mut Changes<'_>) {
        self.applied = Some((self.apply)(changes));
        self.due = changes.due;
        self.found_nothing = changes.found_nothing;
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

    fn due(&self) -> Due {
        match self.applied {
            Some(Ok(_)) => self.due,
            Some(Err(_)) | None => Due::default(),
        }
    }

    fn found_nothing(&self) -> bool {
        self.found_nothing
    }
}
