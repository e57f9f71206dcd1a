//! Opens the sealed rows from time to time, and reports rows that somebody altered.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use crate::{
    kms::{AlteredRows, Kms, KmsError},
    measures::SEALED_ROWS_ALTERED,
};

/// The shortest time between two checks.
const LOOKS_EVERY: Duration = Duration::from_secs(15);

/// The pause after a check, in multiples of the check's own time. Checks thus take at most
/// a hundredth of the time, however many rows there are.
const PART_OF_TIME: u32 = 100;

/// Time between two reports of a lasting alarm.
const REPORTED_EVERY: Duration = Duration::from_secs(60 * 60);

/// The last check and the last report.
pub(super) struct SealWatch {
    altered: watch::Sender<AlteredRows>,
    next: Option<Instant>,
    reported: Option<Instant>,
}

impl SealWatch {
    /// Sends the altered rows to `altered`.
    pub(super) fn new(altered: watch::Sender<AlteredRows>) -> Self {
        Self {
            altered,
            next: None,
            reported: None,
        }
    }

    /// Checks the rows if it is time to.
    pub(super) async fn look(&mut self, kms: &dyn Kms) -> Result<(), KmsError> {
        let begun = Instant::now();
        if self.next.is_some_and(|next| begun < next) {
            return Ok(());
        }
        let seen = kms.altered_rows().await?;
        let pause = begun.elapsed().saturating_mul(PART_OF_TIME);
        self.next = Some(Instant::now() + pause.max(LOOKS_EVERY));
        // Another key management system watches its own rows.
        let Some(seen) = seen else { return Ok(()) };
        SEALED_ROWS_ALTERED.only().set(seen.count() as f64);
        self.report(seen);
        Ok(())
    }

    fn report(&mut self, seen: AlteredRows) {
        let is_due = |reported: Instant| reported.elapsed() >= REPORTED_EVERY;
        let is_news = *self.altered.borrow() != seen;
        match seen.alarm() {
            Some(alarm) if is_news || self.reported.is_none_or(is_due) => {
                tracing::error!("{alarm}");
                self.reported = Some(Instant::now());
            }
            None if is_news => tracing::info!("every sealed row opens again"),
            _ => {}
        }
        self.altered.send_replace(seen);
    }
}
