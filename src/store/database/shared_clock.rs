//! The clock of a database that several gateways use. Each goes by it, whatever its own machine's
//! clock says.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// How far the machine's clock is from the database's. Zero where the database has no clock of its
/// own.
#[derive(Debug, Default)]
pub(crate) struct SharedClock {
    /// Microseconds by which the database's clock is ahead.
    ahead: AtomicI64,
}

impl SharedClock {
    /// Notes the time that the database's clock shows now.
    pub(super) fn set(&self, now: Timestamp) {
        let ahead = now.as_microsecond() - Timestamp::now().as_microsecond();
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// How far the database's clock is ahead of the machine's.
    pub(crate) fn ahead(&self) -> SignedDuration {
        SignedDuration::from_micros(self.ahead.load(Ordering::Relaxed))
    }
}
