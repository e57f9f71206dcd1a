//! An intent on its way to the writer, and its answer on the way back.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::arrivals::Due;
use super::error::{Failure, StoreError};
use super::settings::StoreSettings;
use crate::audit::ChainKey;

/// One change of the database, whole or not at all.
pub(super) trait Intent: Send + 'static {
    /// What it answers once it is committed.
    type Answer: Send + 'static;

    /// Applies it. After a failure all of it is undone.
    fn apply(
        self,
        changes: &mut Changes<'_>,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// What an intent is applied to.
pub(super) struct Changes<'a> {
    /// The connection, within the transaction.
    pub(super) connection: &'a mut SqliteConnection,
    /// The store's bounds.
    pub(super) settings: &'a StoreSettings,
    /// The audit log's key.
    pub(super) chain_key: Option<&'a ChainKey>,
    /// What they have made due so far.
    pub(super) due: Due,
}

impl<'a> Changes<'a> {
    /// None as yet, to be made on this connection.
    pub(super) fn on(
        connection: &'a mut SqliteConnection,
        settings: &'a StoreSettings,
        chain_key: Option<&'a ChainKey>,
    ) -> Self {
        Self {
            connection,
            settings,
            chain_key,
            due: Due::default(),
        }
    }
}

/// Asks the writer for changes.
pub(super) type Inbox = mpsc::Sender<Box<dyn Job>>;

/// Hands an intent to the writer and waits for its commit.
pub(super) async fn submit<I: Intent>(inbox: &Inbox, intent: I) -> Result<I::Answer, StoreError> {
    let (answer_to, answer) = oneshot::channel();
    let job = Waiting {
        intent: Some(intent),
        applied: None,
        due: Due::default(),
        answer_to,
    };
    inbox
        .send(Box::new(job))
        .await
        .map_err(|_| StoreError::Closed)?;
    answer.await.map_err(|_| StoreError::Closed)?
}

/// An intent with whoever waits for its answer.
#[async_trait]
pub(super) trait Job: Send {
    /// Applies the intent and keeps the answer back.
    async fn apply(&mut self, changes: &mut Changes<'_>);

    /// Why it could not be applied.
    fn failure(&self) -> Option<&Failure>;

    /// Gives the answer, now that the batch's outcome is known.
    fn answer(self: Box<Self>, batch: &Result<(), StoreError>, settings: &StoreSettings);

    /// What it has made due.
    fn due(&self) -> Due;
}

struct Waiting<I: Intent> {
    intent: Option<I>,
    applied: Option<Result<I::Answer, Failure>>,
    due: Due,
    answer_to: oneshot::Sender<Result<I::Answer, StoreError>>,
}

#[async_trait]
impl<I: Intent> Job for Waiting<I> {
    async fn apply(&mut self, changes: &mut Changes<'_>) {
        if let Some(intent) = self.intent.take() {
            self.applied = Some(intent.apply(changes).await);
            self.due = changes.due;
        }
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
        // Who asked may have gone away; the change stands.
        let _ = self.answer_to.send(answer);
    }

    fn due(&self) -> Due {
        match self.applied {
            Some(Ok(_)) => self.due,
            Some(Err(_)) | None => Due::default(),
        }
    }
}
