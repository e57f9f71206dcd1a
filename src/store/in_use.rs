//! Who uses the store: many at once, or one alone that changes its secrets. A
//! process that went on with the former keys would spoil what it writes.
//!
//! The lock is on the directory, which is the gateway's own, and goes with the
//! process. It is flock(2)'s: SQLite's own, on the file, it leaves alone.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use super::error::StoreError;
use super::open::directory_of;

/// Holds the store until it is dropped.
pub(super) struct InUse(#[allow(dead_code, reason = "the lock goes with it")] File);

impl InUse {
    /// Together with others.
    pub(super) fn shared(path: &Path) -> Result<Self, StoreError> {
        let changing = || StoreError::SecretsBeingChanged {
            path: path.to_owned(),
        };
        Self::hold(path, File::try_lock_shared, changing)
    }

    /// With nobody else.
    pub(super) fn alone(path: &Path) -> Result<Self, StoreError> {
        let in_use = || StoreError::InUse {
            path: path.to_owned(),
        };
        Self::hold(path, File::try_lock, in_use)
    }

    fn hold(
        path: &Path,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
        refused: impl FnOnce() -> StoreError,
    ) -> Result<Self, StoreError> {
        let directory = directory_of(path);
        let failed = |error| StoreError::Io {
            path: directory.to_owned(),
            action: "lock the directory",
            cause: Arc::new(error),
        };
        let file = File::open(directory).map_err(failed)?;
        match lock(&file) {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(refused()),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
