//! The one source of "now". Whoever needs the time takes a [`Clock`] or a
//! [`Timestamp`], so that a test can set it and the pure parts stay pure. Whoever
//! ends something for good by its age takes a [`WatchedClock`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use crate::clock_record::{ClockRecord, Doubt, Look};

/// Something that tells the time.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// How long the machine has run, sleep included. No setting of the clock
    /// changes it.
    fn uptime(&self) -> SignedDuration {
        let uptime = clock_gettime(ClockId::Boottime);
        // Below a thousand millions of nanoseconds.
        let nanoseconds = i32::try_from(uptime.tv_nsec).unwrap_or_default();
        SignedDuration::new(uptime.tv_sec, nanoseconds)
    }

    /// Both.
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

/// A clock with the record of how it ran. Each question for the time is a look,
/// so that no stamp is made that the record doesn't know of.
pub struct WatchedClock {
    clock: Arc<dyn Clock>,
    record: Mutex<ClockRecord>,
}

impl WatchedClock {
    /// A clock that ran like this until now.
    pub fn new(clock: Arc<dyn Clock>, record: ClockRecord) -> Self {
        Self {
            clock,
            record: Mutex::new(record),
        }
    }

    /// One of which nothing is known.
    pub fn unknown(clock: Arc<dyn Clock>) -> Self {
        let record = ClockRecord::new(clock.look());
        Self::new(clock, record)
    }

    /// A time so that whatever was stamped before it is surely older than `age`.
    pub fn surely_before(&self, age: SignedDuration) -> Timestamp {
        self.looked().surely_before(age)
    }

    /// Whether the clock is so far off that somebody should look at it.
    pub fn doubt(&self) -> Option<Doubt> {
        self.looked().doubt()
    }

    /// How it ran until now.
    pub fn record(&self) -> ClockRecord {
        self.looked().clone()
    }

    /// The record with a look at this moment. The look is taken under the lock:
    /// looks come in order.
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
