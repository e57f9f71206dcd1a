//! The lock on the store: many processes share it, or one holds it alone to change the secrets. A
//! process that went on with the former keys would spoil its rows.
//!
//! Uses flock(2) on the directory, which is the gateway's own, and leaves SQLite's own lock on the
//! file alone. The lock ends with the process.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::files::{cannot, directory_of};
use crate::store::database::error::StoreError;

/// Holds the lock until it is dropped.
pub(crate) struct InUse(#[allow(dead_code, reason = "the lock goes with it")] File);

impl InUse {
    /// Shares the lock with other processes.
    pub(crate) fn shared(path: &Path) -> Result<Self, StoreError> {
        let changing = || StoreError::SecretsBeingChanged {
            place: path.display().to_string(),
        };
        Self::hold(path, File::try_lock_shared, changing)
    }

    pub(crate) fn alone(path: &Path) -> Result<Self, StoreError> {
        let in_use = || StoreError::InUse {
            place: path.display().to_string(),
        };
        Self::hold(path, File::try_lock, in_use)
    }

    fn hold(
        path: &Path,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
        refused: impl FnOnce() -> StoreError,
    ) -> Result<Self, StoreError> {
        let directory = directory_of(path);
        let failed = |error| cannot("lock the directory", directory)(error);
        let file = File::open(directory).map_err(failed)?;
        match lock(&file) {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(refused()),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
