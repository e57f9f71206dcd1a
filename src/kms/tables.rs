//! The tables that the embedded key management system reads and writes. The
//! store implements them. Secrets pass through here sealed, attributes in clear.

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use super::resealing::ResealError;
use super::rows::{KmcKeyRow, ModuleRow, VendingKeyRow};
use crate::secrets::{Sealed, StorageKey};
use crate::sts::{PointText, SmId, StsTime};

/// Number of writes to the tables: equal revisions mean equal tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Revision(pub(crate) i64);

/// The data that shows whether a module made a request, read at one moment.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The state of the tables that was read.
    pub(crate) revision: Revision,
    /// Every KMC key.
    pub(crate) kmc_keys: Vec<KmcKeyRow>,
    /// The module that the request names, if it is registered.
    pub(crate) module: Option<ModuleRow>,
    /// Whether the request's replay key is recorded already.
    pub(crate) replayed: bool,
    /// The module's replay keys up to this request time were pruned, so requests
    /// up to this time count as replayed.
    pub(crate) watermark: Option<StsTime>,
}

/// The vending keys that a module may have, read at one moment.
#[derive(Clone, Debug)]
pub struct Issuable {
    /// The state of the tables that was read.
    pub(crate) revision: Revision,
    /// The vending keys of the module's supply groups, in any order.
    pub(crate) vending_keys: Vec<VendingKeyRow>,
    /// Times at which key load files were issued to this module, ascending, from
    /// the time asked for.
    pub(crate) issued: Vec<Timestamp>,
}

/// Everything that the answer to an update file depends on, read at one moment.
#[derive(Clone, Debug)]
pub struct UpdateBasis {
    /// The state of the tables that was read.
    pub(crate) revision: Revision,
    /// Every KMC key.
    pub(crate) kmc_keys: Vec<KmcKeyRow>,
    /// Every module.
    pub(crate) modules: Vec<ModuleRow>,
    /// Serial and content digest of the last applied file by the same STSA key.
    pub(crate) last: Option<(u32, [u8; 48])>,
}

/// Every row that the storage key seals, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedRows {
    /// The state of the tables that was read.
    pub(crate) revision: Revision,
    /// Every KMC key.
    pub(crate) kmc_keys: Vec<KmcKeyRow>,
    /// Every module.
    pub(crate) modules: Vec<ModuleRow>,
    /// Every vending key.
    pub(crate) vending_keys: Vec<VendingKeyRow>,
}

impl SealedRows {
    /// The same rows sealed under `to`.
    ///
    /// # Errors
    /// [`ResealError`] for the first row that doesn't open by `from`, or if there
    /// are no random bytes.
    pub(crate) fn reseal(&self, from: &StorageKey, to: &StorageKey) -> Result<Self, ResealError> {
        let (kmc_keys, modules) = (self.kmc_keys.iter(), self.modules.iter());
        Ok(Self {
            revision: self.revision,
            kmc_keys: kmc_keys
                .map(|row| row.reseal(from, to))
                .collect::<Result<_, _>>()?,
            modules: modules
                .map(|row| row.reseal(from, to))
                .collect::<Result<_, _>>()?,
            vending_keys: self
                .vending_keys
                .iter()
                .map(|row| row.reseal(from, to))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The tables of the key management system. Each write adds one to the
/// [`Revision`] and writes an audit entry in the same transaction. Each read and
/// write may fail with [`TablesError::Store`] or [`TablesError::Unreadable`].
#[async_trait]
pub trait KmsTables: Send + Sync {
    /// Reads the data that shows whether `smid` made a request, in one consistent
    /// read. Anybody can cause this read, so it does the same work for a module
    /// that is not registered.
    async fn asker(&self, smid: &SmId, replay_key: &[u8; 32]) -> Result<Asker, TablesError>;

    /// Reads the vending keys that `smid` may have, in one consistent read. The
    /// time taken grows with their number. Without `issued_since`, former issues
    /// are not read.
    async fn issuable(
        &self,
        smid: &SmId,
        issued_since: Option<Timestamp>,
    ) -> Result<Issuable, TablesError>;

    /// Reads the basis of an answer to an update file that this STSA key signed,
    /// in one consistent read.
    async fn update_basis(&self, stsa_key: &PointText) -> Result<UpdateBasis, TablesError>;

    /// Every KMC key.
    async fn kmc_keys(&self) -> Result<Vec<KmcKeyRow>, TablesError>;

    /// Adds a KMC key.
    ///
    /// # Errors
    /// [`TablesError::Exists`] if its KMCID exists.
    async fn add_kmc_key(&self, row: KmcKeyRow, now: Timestamp) -> Result<(), TablesError>;

    /// Every module.
    async fn modules(&self) -> Result<Vec<ModuleRow>, TablesError>;

    /// Adds a module.
    ///
    /// # Errors
    /// [`TablesError::Exists`] if its SMID exists.
    async fn add_module(&self, row: ModuleRow, now: Timestamp) -> Result<(), TablesError>;

    /// Replaces `read` by `row`, which has the same SMID. Every change of a module
    /// goes this way, because its attributes are sealed with its DAK. No two
    /// sealings are equal, so a row is unchanged exactly if its `sealed_dak` is.
    /// [`ModuleRow::change_from`] words the change for the audit log.
    ///
    /// # Errors
    /// [`TablesError::Unknown`] if the SMID is not known,
    /// [`TablesError::Changed`] if the stored row is no longer `read`.
    async fn replace_module(
        &self,
        read: &ModuleRow,
        row: ModuleRow,
        now: Timestamp,
    ) -> Result<(), TablesError>;

    /// Every vending key.
    async fn vending_keys(&self) -> Result<Vec<VendingKeyRow>, TablesError>;

    /// Adds a vending key.
    ///
    /// # Errors
    /// [`TablesError::Exists`] if its SGC has a key with that KRN.
    async fn add_vending_key(&self, row: VendingKeyRow, now: Timestamp) -> Result<(), TablesError>;

    /// Replaces `read` by `row`, which has the same SGC and KRN, as
    /// [`replace_module`](Self::replace_module) does.
    ///
    /// # Errors
    /// [`TablesError::Unknown`] if there is no such key,
    /// [`TablesError::Changed`] if the stored row is no longer `read`.
    async fn replace_vending_key(
        &self,
        read: &VendingKeyRow,
        row: VendingKeyRow,
        now: Timestamp,
    ) -> Result<(), TablesError>;

    /// The storage key sealed under the master secret, or none if it was never
    /// set.
    async fn wrapped_storage_key(&self) -> Result<Option<Sealed>, TablesError>;

    /// Stores the sealed storage key of tables that have none.
    ///
    /// # Errors
    /// [`TablesError::Exists`] if there is one.
    async fn set_wrapped_storage_key(&self, wrapped: Sealed) -> Result<(), TablesError>;
}

/// Why the tables could not be read or written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TablesError {
    /// A row with this key exists.
    #[error("{0} exists already")]
    Exists(String),
    /// No row has this key.
    #[error("{0} is not known")]
    Unknown(String),
    /// Somebody else changed the row after it was read.
    #[error("{0} was changed by someone else meanwhile: check it and try again")]
    Changed(String),
    /// A row holds a value that this program never writes.
    #[error("{0}")]
    Unreadable(String),
    /// The store failed; the text is its chain of causes.
    #[error("the store failed: {0}")]
    Store(String),
}
