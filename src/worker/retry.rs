//! Decides when to try again: exponential back-off with jitter, and an end. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::config::Period;

/// The rules for repeating failed attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// The wait after the first failure. Each further failure doubles it.
    pub(crate) first: Period,
    /// The longest wait.
    pub(crate) longest: Period,
    /// The age after which an attempt is not repeated.
    pub(crate) give_up: Period,
    /// The age of a request after which its sender gets a late notice.
    pub(crate) notice_after: Period,
}

/// The times that decide about the next attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The acceptance of the request.
    pub(crate) asked: Timestamp,
    /// The start of what is attempted: the request's acceptance or its completion.
    pub(crate) since: Timestamp,
    /// The present time.
    pub(crate) now: Timestamp,
    /// Anything that began before this time is surely older than [`Retry::give_up`].
    pub(crate) given_up_before: Timestamp,
}

/// The longest wait between two attempts at a port in trouble. The waiting replies go
/// soon after the port is back.
const LONGEST_OF_PORT: Period = Period::from_secs(60);

impl Retry {
    /// The time of the next attempt at a port, after this many failures in a row, the last
    /// of them now. `jitter` is as in [`Retry::next`].
    #[must_use]
    pub(crate) fn port_again(&self, failures: u32, now: Timestamp, jitter: u64) -> Timestamp {
        let wait = self.wait(failures, self.longest.min(LONGEST_OF_PORT), jitter);
        now.saturating_add(wait).unwrap_or(Timestamp::MAX)
    }

    /// Requests accepted at or before the returned time are late now.
    #[must_use]
    pub(crate) fn late_if_by(&self, now: Timestamp) -> Timestamp {
        let latest = now.saturating_sub(self.notice_after.as_signed());
        latest.unwrap_or(Timestamp::MIN)
    }

    /// The time of the next attempt, as [`Retry::next`] returns it. If a late notice is
    /// still owed, the next attempt comes no later than the notice is due.
    #[must_use]
    pub(crate) fn again(
        &self,
        attempts: u32,
        times: Times,
        owes_notice: bool,
        jitter: u64,
    ) -> Option<Timestamp> {
        let next = self.next(attempts, times, jitter)?;
        if !owes_notice || times.asked <= self.late_if_by(times.now) {
            return Some(next);
        }
        let late_from = times.asked.saturating_add(self.notice_after.as_signed());
        Some(next.min(late_from.unwrap_or(Timestamp::MAX)))
    }

    /// The time of the next attempt after attempt `attempts` (1 for the first) failed now;
    /// `None` if it is surely too old to be repeated.
    ///
    /// `jitter` is any number. It spreads the time over the last quarter of the wait, so
    /// that attempts that failed together are not repeated together.
    #[must_use]
    pub(crate) fn next(&self, attempts: u32, times: Times, jitter: u64) -> Option<Timestamp> {
        if times.since < times.given_up_before {
            return None;
        }
        // A wait beyond the range of dates ends the repetitions as well.
        let wait = self.wait(attempts, self.longest, jitter);
        times.now.checked_add(wait).ok()
    }

    fn wait(&self, attempts: u32, longest: Period, jitter: u64) -> SignedDuration {
        let doubled = 2u32.saturating_pow(attempts.saturating_sub(1).min(20));
        let wait = self
            .first
            .as_std()
            .saturating_mul(doubled)
            .min(longest.as_std());
        let spread = u64::try_from(wait.as_millis() / 4)
            .unwrap_or(u64::MAX)
            .max(1);
        let wait = wait.saturating_sub(std::time::Duration::from_millis(jitter % spread));
        SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RETRY: Retry = Retry {
        first: Period::from_secs(5),
        longest: Period::from_secs(900),
        give_up: Period::from_secs(3600),
        notice_after: Period::from_secs(60),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// Times by a correct clock.
    fn times(since: i64, now: i64) -> Times {
        Times {
            asked: at(0),
            since: at(since),
            now: at(now),
            given_up_before: at(now - 3600),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<i64> = [1, 2, 3, 8, 9, 1000]
            .map(|attempts| RETRY.next(attempts, times(0, 0), 0).unwrap().as_second())
            .to_vec();
        assert_eq!(waits, [5, 10, 20, 640, 900, 900]);
    }

    #[test]
    fn jitter_takes_at_most_a_quarter() {
        for jitter in [0, 1, 1249, 1250, u64::MAX] {
            let next = RETRY.next(1, times(0, 0), jitter).unwrap();
            assert!(next > at(3) && next <= at(5), "{next}");
        }
    }

    #[test]
    fn a_port_is_tried_each_minute_at_least() {
        let waits = [1, 2, 4, 5, 9, 1000].map(|failures| {
            let again = RETRY.port_again(failures, at(0), 0);
            again.as_second()
        });
        assert_eq!(waits, [5, 10, 40, 60, 60, 60]);
        let hasty = Retry {
            longest: Period::from_secs(8),
            ..RETRY
        };
        assert_eq!(hasty.port_again(3, at(0), 0), at(8));
    }

    #[test]
    fn gives_up_what_is_surely_too_old() {
        assert!(RETRY.next(1, times(0, 3600), 0).is_some());
        assert!(RETRY.next(1, times(0, 3601), 0).is_none());
        let ahead = Times {
            given_up_before: at(-3590),
            ..times(0, 1_000_000)
        };
        assert_eq!(RETRY.next(1, ahead, 0), Some(at(1_000_005)));
    }

    #[test]
    fn who_waits_is_told_when_it_is_late_and_not_before() {
        let again = |attempts, now, owes_notice| {
            RETRY
                .again(attempts, times(30, now), owes_notice, 0)
                .unwrap()
        };
        assert_eq!(again(1, 40, true), at(45));
        assert_eq!(again(5, 40, true), at(60));
        assert_eq!(again(5, 40, false), at(120));
        assert_eq!(again(5, 60, true), at(140));
        assert_eq!(again(5, 60, false), at(140));
        assert!(at(0) > RETRY.late_if_by(at(59)) && at(0) <= RETRY.late_if_by(at(60)));
    }

    #[test]
    fn a_clock_set_back_only_lengthens_the_time() {
        assert!(RETRY.next(1, times(7200, 0), 0).is_some());
    }
}
