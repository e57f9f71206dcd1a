//! When to try again: exponential back-off with jitter, and an end. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::config::Period;

/// How failed attempts are repeated.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Wait after the first failure; doubled after each further one.
    pub first: Period,
    /// The longest wait.
    pub longest: Period,
    /// The age after which nothing is repeated.
    pub give_up: Period,
}

impl Retry {
    /// When attempt `attempts` (1 for the first) that failed at `now` is to be
    /// repeated; `None` if what began at `since` is too old by then.
    ///
    /// `jitter` is any number: it spreads the time over the last quarter of
    /// the wait, so that what failed together is not repeated together.
    #[must_use]
    pub fn next(
        &self,
        attempts: u32,
        since: Timestamp,
        now: Timestamp,
        jitter: u64,
    ) -> Option<Timestamp> {
        if now.duration_since(since) >= self.give_up.as_signed() {
            return None;
        }
        let doubled = 2u32.saturating_pow(attempts.saturating_sub(1).min(20));
        let wait = self
            .first
            .as_std()
            .saturating_mul(doubled)
            .min(self.longest.as_std());
        let spread = u64::try_from(wait.as_millis() / 4)
            .unwrap_or(u64::MAX)
            .max(1);
        let wait = wait.saturating_sub(std::time::Duration::from_millis(jitter % spread));
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        // A wait that date arithmetic can't hold ends the repetitions as well.
        now.checked_add(wait).ok()
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
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<i64> = [1, 2, 3, 8, 9, 1000]
            .map(|attempts| RETRY.next(attempts, at(0), at(0), 0).unwrap().as_second())
            .to_vec();
        assert_eq!(waits, [5, 10, 20, 640, 900, 900]);
    }

    #[test]
    fn jitter_takes_at_most_a_quarter() {
        for jitter in [0, 1, 1249, 1250, u64::MAX] {
            let next = RETRY.next(1, at(0), at(0), jitter).unwrap();
            assert!(next > at(3) && next <= at(5), "{next}");
        }
    }

    #[test]
    fn gives_up_at_the_end_of_its_time() {
        assert!(RETRY.next(1, at(0), at(3599), 0).is_some());
        assert!(RETRY.next(1, at(0), at(3600), 0).is_none());
    }

    #[test]
    fn a_clock_set_back_only_lengthens_the_time() {
        assert!(RETRY.next(1, at(7200), at(0), 0).is_some());
    }
}
