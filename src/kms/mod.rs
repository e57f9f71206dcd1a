//! The key management system behind the gateway: KMC keys, modules, vending
//! keys and the issue of key load files.
//!
//! [`Kms`] is what the services ask; [`EmbeddedKms`] answers from tables that
//! whoever implements [`KmsTables`] keeps, [`RemoteKms`] has another process
//! answer, which holds every key. [`klf`] holds the cryptography of
//! a key load file, shared with the software security module. Nothing here
//! knows of mail or SQL.

pub mod administration;
mod curve;
mod dak;
mod embedded;
mod examination;
mod freshness;
mod issue;
pub mod klf;
mod kmc_keys;
mod master_secret;
#[cfg(test)]
mod memory_tables;
mod pem;
pub mod primitives;
mod remote;
mod request_id;
mod resealing;
mod rows;
mod sealing;
mod secret;
mod tables;
pub mod update;
mod update_answer;
mod vending_key;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::sts::VkloadReq;

pub use curve::{Curve, Fingerprint, PointError, PrivateKey, PublicPoint, UnknownCurve};
pub use dak::Dak;
pub use embedded::EmbeddedKms;
pub use examination::AlteredRows;
pub use freshness::KeyLoadFileSettings;
pub use issue::{
    AuthenticationFailure, Effects, Grant, Issue, IssueLimit, IssueQuestion, KlfIssued, KmsError,
    ModuleChanged, ModulesUpdated, PublicKeyAnswer, Refusal,
};
pub use kmc_keys::{KeysRunOut, KmcKeyState, KmcKeys};
pub use master_secret::{MasterSecret, MasterSecretError};
pub use pem::PemError;
pub use remote::{RemoteKms, RemoteSettings};
pub use request_id::{NoRequestId, RequestId};
pub use resealing::{ResealError, SealedRows};
pub use rows::{KmcKeyRow, ModuleRow, ModuleState, UnknownModuleState, VendingKeyRow};
pub(crate) use sealing::AssociatedData;
pub use sealing::{DoesNotOpen, Sealed, StorageKey, StorageKeyError};
pub(crate) use secret::are_kept_in_memory as secrets_are_kept_in_memory;
pub use secret::{RandomError, Secret, SecretBytes};
pub use tables::{Asker, Issuable, KmsTables, Revision, TablesError, UpdateBasis};
pub use update_answer::{Applied, Update, UpdateQuestion, UpdateRefusal};
pub use vending_key::{Kcv, NoKcv, VendingKey, VendingKeyError};

/// A key management system, embedded or elsewhere.
#[async_trait]
pub trait Kms: Send + Sync {
    /// The public key that modules should now use.
    ///
    /// # Errors
    /// [`KmsError`]: there is no such key, it doesn't open, or the tables are
    /// out of reach.
    async fn public_key(&self, now: Timestamp) -> Result<PublicKeyAnswer, KmsError>;

    /// Makes a key load file, or says why not. The embedded system writes
    /// nothing: the file counts as issued once its [`Effects`] are committed. An
    /// external one keeps tables of its own and gives no effects: asked again
    /// with the same request id, it answers the same.
    ///
    /// # Errors
    /// [`KmsError`] for trouble that isn't the requester's: no KMC key, a row
    /// that doesn't open, tables out of reach, no random bytes.
    async fn issue(&self, question: &IssueQuestion) -> Result<Issue, KmsError>;

    /// What [`issue`](Self::issue) would refuse, by the same checks in the same
    /// order; makes nothing.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    async fn foretell(&self, question: &IssueQuestion) -> Result<Option<Refusal>, KmsError>;

    /// Whether the module that `request` names made it for this moment and was
    /// not answered yet: what somebody else sends again doesn't count as the
    /// module's. Takes no more than its MAC, and the same time whatever the
    /// answer.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    async fn is_from_module(&self, request: &VkloadReq, now: Timestamp) -> Result<bool, KmsError>;

    /// Judges a file of the STSA's that adds and revokes modules. When it
    /// counts as applied is as with [`issue`](Self::issue).
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    async fn update(&self, question: &UpdateQuestion) -> Result<Update, KmsError>;

    /// The sealed rows that somebody altered. None where the rows are another
    /// system's.
    ///
    /// # Errors
    /// [`KmsError`]: the tables are out of reach.
    async fn altered_rows(&self) -> Result<Option<AlteredRows>, KmsError> {
        Ok(None)
    }
}
