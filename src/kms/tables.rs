//! What the key management system asks of whoever keeps its tables. Secrets
//! pass through here sealed; the rows' attributes are in clear.

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use super::rows::{KmcKeyRow, ModuleRow, VendingKeyRow};
use crate::secrets::Sealed;
use crate::sts::{PointText, SmId, StsTime};

/// How often the tables have been written: equal revisions, equal tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

/// What shows whether a module made a request, as it stood at one moment.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The state of the tables that was read.
    pub revision: Revision,
    /// Every KMC key.
    pub kmc_keys: Vec<KmcKeyRow>,
    /// The module that the request names, if it is registered.
    pub module: Option<ModuleRow>,
    /// Whether the replay key has been written before.
    pub replayed: bool,
    /// Replay keys of requests up to this time were pruned for this module.
    pub watermark: Option<StsTime>,
}

/// What a module may have, as it stood at one moment.
#[derive(Clone, Debug)]
pub struct Issuable {
    /// The state of the tables that was read.
    pub revision: Revision,
    /// The vending keys of the module's supply groups, in any order.
    pub vending_keys: Vec<VendingKeyRow>,
    /// When key load files were issued to this module since the time asked for,
    /// in order.
    pub issued: Vec<Timestamp>,
}

/// Everything that the answer to an update file depends on, as it stood at one
/// moment.
#[derive(Clone, Debug)]
pub struct UpdateBasis {
    /// The state of the tables that was read.
    pub revision: Revision,
    /// Every KMC key.
    pub kmc_keys: Vec<KmcKeyRow>,
    /// Every module.
    pub modules: Vec<ModuleRow>,
    /// Serial and content of the last file by the same key of the STSA's.
    pub last: Option<(u32, [u8; 48])>,
}

/// The tables of the key management system. Each write adds one to the
/// [`Revision`] and writes an audit entry in the same transaction.
#[async_trait]
pub trait KmsTables: Send + Sync {
    /// What shows whether `smid` made a request, in one consistent read. Anybody
    /// can have it asked: the reads are the same for a module that is not
    /// registered.
    ///
    /// # Errors
    /// [`TablesError::Store`].
    async fn asker(&self, smid: &SmId, replay_key: &[u8; 32]) -> Result<Asker, TablesError>;

    /// What `smid` may have, in one consistent read that takes the longer the
    /// more it is. Without `issued_since`, former issues are not looked at.
    ///
    /// # Errors
    /// [`TablesError::Store`].
    async fn issuable(
        &self,
        smid: &SmId,
        issued_since: Option<Timestamp>,
    ) -> Result<Issuable, TablesError>;

    /// The basis of an answer to an update file that this key of the STSA's
    /// signed, in one consistent read.
    ///
    /// # Errors
    /// [`TablesError::Store`].
    async fn update_basis(&self, stsa_key: &PointText) -> Result<UpdateBasis, TablesError>;

    /// Every KMC key.
    ///
    /// # Errors
    /// [`TablesError::Store`].
    async fn kmc_keys(&self) -> Result<Vec<KmcKeyRow>, TablesError>;

    /// Adds a KMC key.
    ///
    /// # Errors
    /// [`TablesError::Exists`] if its KMCID is there; [`TablesError::Store`].
    async fn add_kmc_key(&self, row: KmcKeyRow, now: Timestamp) -> Result<(), TablesError>;

    /// Every module.
    ///
    /// # Errors
    /// [`TablesError::Store`].
    async fn modules(&self) -> Result<Vec<ModuleRow>, TablesError>;

    /// Adds a module.
    ///
    /// # Errors
    /// [`TablesError::Exists`] if its SMID is there; [`TablesError::Store`].
    async fn add_module(&self, row: ModuleRow, now: Timestamp) -> Result<(), TablesError>;

    /// Puts `row` in place of `read`, the row with the same SMID as it was
    /// read. Every change of a module comes this way, for its attributes are
    /// sealed with its key. Two sealings are never the same, so that the row is
    /// unchanged exactly if its `sealed_dak` is. [`ModuleRow::change_from`]
    /// says for the audit what is different.
    ///
    /// # Errors
    /// [`TablesError::Unknown`] if the SMID isn't there,
    /// [`TablesError::Changed`] if the row is no longer `read`;
    /// [`TablesError::Store`].
    async fn replace_module(
        &self,
        read: &ModuleRow,
        row: ModuleRow,
        now: Timestamp,
    ) -> Result<(), TablesError>;

    /// Every vending key.
    ///
    /// # Errors
    /// [`TablesError::Store`].
    async fn vending_keys(&self) -> Result<Vec<VendingKeyRow>, TablesError>;

    /// Adds a vending key.
    ///
    /// # Errors
    /// [`TablesError::Exists`] if its SGC has a key of that KRN;
    /// [`TablesError::Store`].
    async fn add_vending_key(&self, row: VendingKeyRow, now: Timestamp) -> Result<(), TablesError>;

    /// Puts `row` in place of `read`, the row of the same SGC and KRN as it was
    /// read; else as [`replace_module`](Self::replace_module).
    ///
    /// # Errors
    /// [`TablesError::Unknown`] if there is no such key,
    /// [`TablesError::Changed`] if the row is no longer `read`;
    /// [`TablesError::Store`].
    async fn replace_vending_key(
        &self,
        read: &VendingKeyRow,
        row: VendingKeyRow,
        now: Timestamp,
    ) -> Result<(), TablesError>;

    /// The storage key, sealed under the master secret.
    ///
    /// # Errors
    /// [`TablesError::Store`].
    async fn wrapped_storage_key(&self) -> Result<Option<Sealed>, TablesError>;

    /// Keeps the storage key, once and for all.
    ///
    /// # Errors
    /// [`TablesError::Exists`] if there is one; [`TablesError::Store`].
    async fn set_wrapped_storage_key(&self, wrapped: Sealed) -> Result<(), TablesError>;
}

/// Why the tables did not do what they were asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TablesError {
    /// There is such a row already.
    #[error("{0} exists already")]
    Exists(String),
    /// There is no such row.
    #[error("{0} is not known")]
    Unknown(String),
    /// Somebody else changed the row since it was read.
    #[error("{0} was changed by someone else meanwhile: look at it and try again")]
    Changed(String),
    /// A row holds what this program doesn't write.
    #[error("{0}")]
    Unreadable(String),
    /// The store failed; the text is its chain of causes.
    #[error("the store failed: {0}")]
    Store(String),
}
