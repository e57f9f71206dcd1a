//! Checks the whole database while the gateway serves.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::store::{Checked, Store, StoreError};

/// The time for the write-ahead log to become shorter, or for trouble to pass.
const PAUSE: Duration = Duration::from_secs(60);

/// Waits until the database is found damaged: for ever if it is sound. A PostgreSQL
/// server checks its own files.
pub(super) async fn damage(store: &Store) -> StoreError {
    if store.settings().postgresql.is_some() {
        return pending().await;
    }
    loop {
        let begun = Instant::now();
        match store.check_in_use().await {
            Ok(Checked::Sound) => {
                tracing::info!(took = ?begun.elapsed(), "the whole database is checked and sound");
                return pending().await;
            }
            Ok(Checked::LogGrew) => tracing::info!(
                again_in = ?PAUSE,
                "the check of the whole database made way for the write-ahead log"
            ),
            Err(error) if error.is_damage() => return error,
            Err(error) => tracing::warn!(
                %error,
                again_in = ?PAUSE,
                "the whole database can't be checked"
            ),
        }
        sleep(PAUSE).await;
    }
}
