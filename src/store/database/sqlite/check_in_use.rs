//! Checks the whole database while others use it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::connection::{Access, SqliteConnection};
use super::{found_damage, integrity, write_ahead_log};
use crate::store::database::connection::Connection;
use crate::store::database::error::StoreError;
use crate::store::database::settings::StoreSettings;

/// Bytes by which the write-ahead log may grow meanwhile. The check sees the database as it was at
/// the check's begin. Until its end, SQLite can't move later changes out of the log.
const MOST_GROWTH: u64 = 64 << 20;

/// How a check ended that found no damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Everything was checked.
    Sound,
    /// The write-ahead log grew too much, and the check made way.
    LogGrew,
}

/// Checks the whole database until `is_ending`. Makes a note for the next start if it is damaged.
pub(crate) fn check_in_use(
    settings: &StoreSettings,
    is_ending: &Arc<AtomicBool>,
) -> Result<Checked, StoreError> {
    let log = LogWatch::begin(&settings.path, MOST_GROWTH);
    let ending = is_ending.clone();
    let is_over = move || ending.load(Ordering::Relaxed) || log.grew_too_much();
    match check(settings, is_over) {
        Ok(()) => Ok(Checked::Sound),
        Err(error) if error.is_damage() => {
            if let Err(cause) = found_damage::note(&settings.path, &error) {
                tracing::warn!(%cause, "the next start can't know that the database is damaged");
            }
            Err(error)
        }
        Err(_) if is_ending.load(Ordering::Relaxed) => Err(StoreError::Closed),
        Err(error) if error.is_interruption() => Ok(Checked::LogGrew),
        Err(error) => Err(error),
    }
}

/// Fails with an interruption once `is_over`.
fn check(
    settings: &StoreSettings,
    is_over: impl FnMut() -> bool + Send + 'static,
) -> Result<(), StoreError> {
    let failed = |error| integrity::failed(error, &settings.path);
    let mut connection = SqliteConnection::open(settings, Access::Read).map_err(failed)?;
    connection.interrupt_when(is_over).map_err(failed)?;
    let mut connection = Connection::Sqlite(connection);
    integrity::check(&mut connection, &settings.path)?;
    connection.close().map_err(failed)
}

/// Watches how the write-ahead log of a database grows.
struct LogWatch {
    database: PathBuf,
    longest: u64,
}

impl LogWatch {
    fn begin(database: &Path, most_growth: u64) -> Self {
        Self {
            database: database.to_owned(),
            longest: write_ahead_log::length_beside(database).saturating_add(most_growth),
        }
    }

    fn grew_too_much(&self) -> bool {
        write_ahead_log::length_beside(&self.database) > self.longest
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::{Entry, Event};
    use crate::store::testing::{TestStore, at, request};

    /// A store of more pages than SQLite checks between two looks at the log.
    async fn large() -> TestStore {
        let test = TestStore::sqlite().await;
        let mut entry = Entry::new(at(1), Event::Judged);
        entry.detail = Some("x".repeat(4096));
        let filled = test
            .store
            .change(move |changes| (0..1_500).try_for_each(|_| changes.audit(entry.clone())));
        filled.await.unwrap();
        test.store.close().await;
        test
    }

    #[tokio::test]
    async fn a_check_makes_way_for_the_log() {
        let test = large().await;
        let log = LogWatch::begin(&test.settings.path, 0);
        let mut other = test.sqlite3();
        let is_over = move || {
            other
                .execute("UPDATE kms_revision SET revision = 1", &[])
                .unwrap();
            log.grew_too_much()
        };
        let interrupted = check(&test.settings, is_over).unwrap_err();
        assert!(interrupted.is_interruption(), "{interrupted}");
        check(&test.settings, || false).unwrap();
    }

    #[tokio::test]
    async fn a_check_ends_with_the_store() {
        let test = large().await;
        let ended = check_in_use(&test.settings, &Arc::new(true.into()));
        assert!(matches!(ended, Err(StoreError::Closed)), "{ended:?}");

        let store = test.another().await;
        store.accept(request(1)).await.unwrap();
        assert_eq!(store.check_in_use().await.unwrap(), Checked::Sound);
        store.close().await;
        let refused = store.check_in_use().await;
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    }
}
