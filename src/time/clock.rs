//! The one source of "now". Code that needs the time takes a [`Clock`] or a
//! [`Timestamp`], so that a test can set it and the pure parts stay pure. Code that
//! ends something for good because of its age takes a [`WatchedClock`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use super::{ClockRecord, Doubt, Look};

/// A source of the time.
pub trait Clock: Send + Sync {
    /// The present time by this clock.
    fn now(&self) -> Timestamp;

    /// Time since the machine was started, sleep included. Setting the clock does
    /// not change it.
    fn uptime(&self) -> SignedDuration {
        let uptime = clock_gettime(ClockId::Boottime);
        // Always below 1,000,000,000.
        let nanoseconds = i32::try_from(uptime.tv_nsec).unwrap_or_default();
        SignedDuration::new(uptime.tv_sec, nanoseconds)
    }

    /// Clock and uptime, read one after the other.
    fn look(&self) -> Look {
        Look {
            now: self.now(),
            uptime: self.uptime(),
        }
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock with the record of how it ran. Each reading of the time enters the
/// record, so that the record knows every stamp.
pub struct WatchedClock {
    clock: Arc<dyn Clock>,
    record: Mutex<ClockRecord>,
}

impl WatchedClock {
    /// A clock that ran until now as `record` says.
    pub(crate) fn new(clock: Arc<dyn Clock>, record: ClockRecord) -> Self {
        Self {
            clock,
            record: Mutex::new(record),
        }
    }

    /// A clock without a former record.
    pub fn unknown(clock: Arc<dyn Clock>) -> Self {
        let record = ClockRecord::new(clock.look());
        Self::new(clock, record)
    }

    /// A time: everything that was stamped before it is surely older than `age`.
    pub(crate) fn surely_before(&self, age: SignedDuration) -> Timestamp {
        self.looked().surely_before(age)
    }

    /// The doubt, if the clock is so far off that a person should check it.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        self.looked().doubt()
    }

    /// The record up to now.
    pub(crate) fn record(&self) -> ClockRecord {
        self.looked().clone()
    }

    /// The record with a look at this moment. The look is taken under the lock, so
    /// that looks are in order.
    fn looked(&self) -> MutexGuard<'_, ClockRecord> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.look(self.clock.look());
        record
    }
}

impl Clock for WatchedClock {
    fn now(&self) -> Timestamp {
        self.looked().last.now
    }

    fn uptime(&self) -> SignedDuration {
        self.clock.uptime()
    }
}
