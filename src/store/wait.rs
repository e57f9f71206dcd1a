//! The time for which a leased row is not due.

use jiff::{SignedDuration, Timestamp};

use super::columns::Moment;

/// For how long a leased row is not due.
pub(super) struct Wait {
    /// From now
    pub(super) since: Moment,
    /// to then.
    pub(super) until: Moment,
    /// A wait that began after this is void: the clock has been set back, and
    /// the row would wait for the difference too.
    pub(super) clock_was_set_back: Moment,
}

impl Wait {
    /// Two tasks may ask the clock in one order and come here in the other, so
    /// that a wait may well begin a little after now.
    const TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

    /// A wait from now on.
    pub(super) fn of(now: Timestamp, hold: SignedDuration) -> Self {
        let later = |by| Moment(now.saturating_add(by).unwrap_or(Timestamp::MAX));
        Self {
            since: Moment(now),
            until: later(hold),
            clock_was_set_back: later(Self::TOLERANCE),
        }
    }
}

/// Whether a request waits for its turn under an allowance at ?1: its first
/// attempt is yet to come. One that was tried waits for something else.
macro_rules! waits_for_allowance {
    () => {
        "(waits_until > ?1 AND attempts = 0)"
    };
}

pub(super) use waits_for_allowance;
