//! Checks the clock from time to time: keeps its record in the store, and reports a clock
//! in doubt.

use jiff::SignedDuration;

use crate::{
    measures::CLOCK_BEHIND,
    store::{Store, StoreError},
    time::{ClockRecord, WatchedClock},
};

/// Time between two records that differ only in their time. After a crash of the machine
/// at most this much of its uptime is unknown.
const KEPT_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// Time between two reports of a lasting doubt.
const REPORTED_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// The last record and the last report.
#[derive(Default)]
pub(super) struct ClockWatch {
    kept: Option<ClockRecord>,
    /// The uptime at the last report of a doubt.
    reported: Option<SignedDuration>,
}

impl ClockWatch {
    pub(super) async fn look(
        &mut self,
        clock: &WatchedClock,
        store: &Store,
    ) -> Result<(), StoreError> {
        let record = clock.record();
        CLOCK_BEHIND.only().set(record.present.behind.as_secs_f64());
        self.report(&record);
        if self.is_to_be_kept(&record) {
            store.keep_clock_record(record.clone()).await?;
            self.kept = Some(record);
        }
        Ok(())
    }

    fn is_to_be_kept(&self, record: &ClockRecord) -> bool {
        self.kept.as_ref().is_none_or(|kept| {
            kept.present.from != record.present.from
                || kept.present.behind != record.present.behind
                || record.last.uptime.saturating_sub(kept.last.uptime) >= KEPT_EVERY
        })
    }

    fn report(&mut self, record: &ClockRecord) {
        let uptime = record.last.uptime;
        let is_due = |reported: SignedDuration| uptime.saturating_sub(reported) >= REPORTED_EVERY;
        match record.doubt() {
            Some(doubt) if self.reported.is_none_or(is_due) => {
                tracing::error!("{doubt}");
                self.reported = Some(uptime);
            }
            None if self.reported.take().is_some() => tracing::info!("the clock is believed again"),
            _ => {}
        }
    }
}
