//! A change of the storage key: every row is opened by the old key and sealed under
//! the new one. A row that doesn't open stops the change, because it would be lost.

use thiserror::Error;

use crate::secrets::{AssociatedData, DoesNotOpen, RandomError, Sealed, StorageKey};

/// Why a row could not be sealed anew.
#[derive(Debug, Error)]
pub(crate) enum ResealError {
    /// The row was altered, or sealed under another key.
    #[error("{0}; nothing was changed: restore that row from a backup first")]
    Sealed(#[from] DoesNotOpen),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
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
