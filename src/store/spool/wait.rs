//! The time for which a row is not due, because it is leased or put off.

use jiff::{SignedDuration, Timestamp};

/// The time for which a row is not due.
pub(super) struct Wait {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

impl Wait {
    /// Two tasks may ask the clock in one order and come here in the other. A wait may therefore
    /// begin a little after now.
    const TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

    pub(super) fn of(now: Timestamp, hold: SignedDuration) -> Self {
        Self {
            since: now,
            until: later(now, hold),
        }
    }

    /// A wait that began after this moment is void: the clock was set back, and the row would wait
    /// for the difference too.
    pub(super) fn void_after(now: Timestamp) -> Timestamp {
        later(now, Self::TOLERANCE)
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Whether a request waits for its turn under an allowance at $1. After its first attempt a
/// request waits for something else.
macro_rules! waits_for_allowance {
    () => {
        "(waits_until > $1 AND attempts = 0)"
    };
}

/// Whether a worker has the delivery at $1. A delivery that was given back has a trouble of its
/// last attempt.
macro_rules! is_in_work {
    () => {
        "(waits_until > $1 AND attempts > 0 AND NOT EXISTS (
             SELECT 1 FROM delivery_troubles
             WHERE delivery = deliveries.sequence AND attempt = attempts))"
    };
}

pub(super) use {is_in_work, waits_for_allowance};
