//! The storage key of the tables: opened, or made for tables that have none.

use thiserror::Error;

use super::tables::{KmsTables, TablesError};
use crate::secrets::{MasterSecret, OtherMasterSecret, RandomError, StorageKey};

/// Why there is no storage key.
#[derive(Debug, Error)]
pub enum StorageKeyError {
    /// The stored key doesn't open with this master secret.
    #[error(transparent)]
    OtherMasterSecret(#[from] OtherMasterSecret),
    /// The operating system gave no random bytes for a new key.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The tables could not be read or written.
    #[error(transparent)]
    Tables(#[from] TablesError),
}

impl StorageKey {
    /// Opens the tables' storage key, or makes one for tables that have none.
    ///
    /// # Errors
    /// [`StorageKeyError`]: another master secret, no random bytes, or tables
    /// out of reach.
    pub async fn open_or_create(
        tables: &dyn KmsTables,
        master_secret: &MasterSecret,
    ) -> Result<Self, StorageKeyError> {
        if let Some(wrapped) = tables.wrapped_storage_key().await? {
            return Ok(Self::unwrap(&wrapped, master_secret)?);
        }
        let fresh = Self::random()?;
        let wrapped = fresh.wrap(master_secret)?;
        match tables.set_wrapped_storage_key(wrapped).await {
            Ok(()) => Ok(fresh),
            // Another process was faster, so its key counts.
            Err(TablesError::Exists(what)) => match tables.wrapped_storage_key().await? {
                Some(wrapped) => Ok(Self::unwrap(&wrapped, master_secret)?),
                None => Err(TablesError::Exists(what).into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::kms::memory_tables::MemoryTables;

    #[tokio::test]
    async fn the_storage_key_is_made_once_and_opened_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let master = MasterSecret::create_file(&directory.path().join("one")).unwrap();
        let tables = MemoryTables::default();
        let made = StorageKey::open_or_create(&tables, &master).await.unwrap();
        let kept = tables.content().storage_key.clone().unwrap();
        let opened = StorageKey::open_or_create(&tables, &master).await.unwrap();
        assert_eq!(made.expose(), opened.expose());
        assert_eq!(tables.content().storage_key.as_ref(), Some(&kept));
        assert!(
            !kept
                .as_bytes()
                .windows(8)
                .any(|run| run == &made.expose()[..8])
        );

        let other = MasterSecret::create_file(&directory.path().join("two")).unwrap();
        let error = StorageKey::open_or_create(&tables, &other)
            .await
            .unwrap_err();
        assert!(
            matches!(error, StorageKeyError::OtherMasterSecret(_)),
            "{error}"
        );
        assert_eq!(tables.content().storage_key.as_ref(), Some(&kept));
    }

    #[tokio::test]
    async fn of_two_processes_the_first_ones_key_stays() {
        let directory = tempfile::tempdir().unwrap();
        let master = MasterSecret::create_file(&directory.path().join("one")).unwrap();
        let tables = MemoryTables::default();
        let first = StorageKey::open_or_create(&tables, &master).await.unwrap();
        // The second process looked before the first wrote.
        tables.content().misses_storage_key = true;
        let second = StorageKey::open_or_create(&tables, &master).await.unwrap();
        assert_eq!(first.expose(), second.expose());
        assert!(!tables.content().misses_storage_key);
    }
}
