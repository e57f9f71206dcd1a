//! The questions that the services ask a key management system.

use async_trait::async_trait;
use jiff::Timestamp;

use super::examination::AlteredRows;
use super::issue::{Issue, IssueQuestion, KmsError, PublicKeyAnswer, Refusal};
use super::update_answer::{Update, UpdateQuestion};
use crate::sts::VkloadReq;

/// A key management system, embedded or elsewhere. It returns [`KmsError`] for
/// trouble that isn't the requester's: no KMC key, a row that doesn't open, tables
/// out of reach, no random bytes.
#[async_trait]
pub trait Kms: Send + Sync {
    /// The public key that modules should use at `now`.
    async fn public_key(&self, now: Timestamp) -> Result<PublicKeyAnswer, KmsError>;

    /// Makes a key load file, or says why not. The embedded system writes nothing:
    /// the file counts as issued once its [`Effects`](super::issue::Effects) are committed. An external
    /// system keeps its own tables and returns no effects. Asked again with the
    /// same request id, it gives the same answer.
    async fn issue(&self, question: &IssueQuestion) -> Result<Issue, KmsError>;

    /// The refusal that [`issue`](Self::issue) would give, by the same checks in the
    /// same order; none if it would grant a file. Makes nothing.
    async fn foretell(&self, question: &IssueQuestion) -> Result<Option<Refusal>, KmsError>;

    /// Whether the module that `request` names made it, it is fresh at `now`, and it
    /// was not answered yet. So a copy that somebody else sends again does not count
    /// as the module's. Costs one MAC, and the same time whatever the answer.
    async fn is_from_module(&self, request: &VkloadReq, now: Timestamp) -> Result<bool, KmsError>;

    /// Judges an update file of the STSA's, which adds and revokes modules. It counts
    /// as applied by the rule of [`issue`](Self::issue).
    async fn update(&self, question: &UpdateQuestion) -> Result<Update, KmsError>;

    /// Finds the sealed rows that somebody altered. None if another system keeps the
    /// rows.
    async fn altered_rows(&self) -> Result<Option<AlteredRows>, KmsError> {
        Ok(None)
    }
}
