//! The one source of "now". Whoever needs the time takes a [`Clock`] or a
//! [`Timestamp`], so that a test can set it and the pure parts stay pure.

use jiff::Timestamp;

/// Something that tells the time.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
