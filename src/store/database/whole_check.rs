//! The check of the whole database beside its use. It ends with the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::error::StoreError;
use super::settings::StoreSettings;
use super::sqlite::{Checked, check_in_use};

#[derive(Default)]
pub(super) struct WholeCheck {
    is_ending: Arc<AtomicBool>,
    /// Held while a check runs, whoever waits for its result.
    running: Arc<Mutex<()>>,
}

impl WholeCheck {
    /// Checks the database on a thread that may wait.
    pub(super) async fn run(&self, settings: Arc<StoreSettings>) -> Result<Checked, StoreError> {
        let running = self.running.clone().lock_owned().await;
        let is_ending = self.is_ending.clone();
        let checking = spawn_blocking(move || {
            let _running = running;
            match is_ending.load(Ordering::Relaxed) {
                true => Err(StoreError::Closed),
                false => check_in_use(&settings, &is_ending),
            }
        });
        checking.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Ends a running check, and allows no other.
    pub(super) async fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        drop(self.running.lock().await);
    }
}
