//! A change of the storage key: every row is opened by the old key and sealed under
//! the new one. A row that doesn't open stops the change, because it would be lost.

use thiserror::Error;

use super::rows::{KmcKeyRow, ModuleRow, VendingKeyRow};
use super::sealing::{AssociatedData, DoesNotOpen, Sealed, StorageKey};
use super::secret::RandomError;
use super::tables::Revision;

/// Why a row could not be sealed anew.
#[derive(Debug, Error)]
pub enum ResealError {
    /// The row was altered, or sealed under another key.
    #[error("{0}; nothing was changed: restore that row from a backup first")]
    Sealed(#[from] DoesNotOpen),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Every row that the storage key seals, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRows {
    /// The state of the tables that was read.
    pub revision: Revision,
    /// Every KMC key.
    pub kmc_keys: Vec<KmcKeyRow>,
    /// Every module.
    pub modules: Vec<ModuleRow>,
    /// Every vending key.
    pub vending_keys: Vec<VendingKeyRow>,
}

impl SealedRows {
    /// The same rows sealed under `to`.
    ///
    /// # Errors
    /// [`ResealError`] for the first row that doesn't open by `from`, or if there
    /// are no random bytes.
    pub fn reseal(&self, from: &StorageKey, to: &StorageKey) -> Result<Self, ResealError> {
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

impl StorageKey {
    /// Opens a secret and seals it under `to`, for the same row.
    pub(super) fn reseal(
        &self,
        row: &AssociatedData,
        sealed: &Sealed,
        to: &Self,
    ) -> Result<Sealed, ResealError> {
        let secret = self.open(row, sealed)?;
        Ok(to.seal(row, secret.expose())?)
    }
}
