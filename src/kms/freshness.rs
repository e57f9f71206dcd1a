//! The window in which the time of a request must lie.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::sts::StsTime;

/// How far the time of a request may be from the time at which the gateway
/// accepted it (records.md, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Greatest age of a request.
    pub past: Duration,
    /// Greatest lead of a request's clock.
    pub future: Duration,
}

impl Default for Freshness {
    /// 24 hours past and 5 minutes future.
    fn default() -> Self {
        Self {
            past: Duration::from_hours(24),
            future: Duration::from_mins(5),
        }
    }
}

impl Freshness {
    pub(super) fn is_past(&self, time: StsTime, accepted_at: Timestamp) -> bool {
        age(time, accepted_at) > signed(self.past)
    }

    pub(super) fn is_future(&self, time: StsTime, accepted_at: Timestamp) -> bool {
        -age(time, accepted_at) > signed(self.future)
    }
}

/// Subtracts two spans since 1970, because record times reach to the end of 9999,
/// some hours beyond any [`Timestamp`].
fn age(time: StsTime, accepted_at: Timestamp) -> SignedDuration {
    accepted_at.as_duration() - SignedDuration::from_secs(time.unix_seconds())
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn judged(time: &str, accepted_at: &str) -> (bool, bool) {
        let (time, accepted_at) = (time.parse().unwrap(), accepted_at.parse().unwrap());
        let freshness = Freshness::default();
        (
            freshness.is_past(time, accepted_at),
            freshness.is_future(time, accepted_at),
        )
    }

    #[test]
    fn the_window_includes_both_its_ends() {
        let fresh = (false, false);
        assert_eq!(judged("20260301T120000Z", "2026-03-01T12:00:00Z"), fresh);
        assert_eq!(judged("20260301T120000Z", "2026-03-02T12:00:00Z"), fresh);
        assert_eq!(
            judged("20260301T120000Z", "2026-03-02T12:00:00.000000001Z"),
            (true, false)
        );
        assert_eq!(judged("20260301T120500Z", "2026-03-01T12:00:00Z"), fresh);
        assert_eq!(
            judged("20260301T120500Z", "2026-03-01T11:59:59.999999999Z"),
            (false, true)
        );
    }

    #[test]
    fn times_at_the_ends_of_the_calendar_are_judged() {
        assert_eq!(
            judged("99991231T235959Z", "2026-03-01T12:00:00Z"),
            (false, true)
        );
        assert_eq!(
            judged("20000101T000000Z", "2026-03-01T12:00:00Z"),
            (true, false)
        );
    }

    #[test]
    fn a_window_without_end_takes_everything() {
        let endless = Freshness {
            past: Duration::MAX,
            future: Duration::MAX,
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        for time in ["20000101T000000Z", "99991231T235959Z"] {
            let time = time.parse().unwrap();
            assert!(!endless.is_past(time, now) && !endless.is_future(time, now));
        }
    }
}
