//! Clocks, the record that shows whether to believe a clock, and lengths of time as
//! people write and read them.

mod clock;
mod period;
mod record;
#[cfg(test)]
mod record_tests;
pub(crate) mod relative;

pub use self::clock::{Clock, SystemClock, WatchedClock};
pub(crate) use self::period::Period;
pub(crate) use self::record::{ClockRecord, Doubt, Look, Stretch};
