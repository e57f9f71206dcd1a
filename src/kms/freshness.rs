//! `[key_load_file]`: how old a request may be, and how many files a module gets.

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::issue::IssueLimit;
use crate::sts::StsTime;
use crate::time::Period;

/// `[key_load_file]`: freshness and number of VKLOAD.REQ.1. Both are judged at the
/// time at which the gateway accepted the message (records.md, section 6).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyLoadFileSettings {
    /// The greatest age of a request.
    pub(crate) max_age: Period,
    /// How far a request's time may be ahead of the gateway's clock.
    pub(crate) max_ahead: Period,
    /// The most key load files that a module is issued within `max_issues_within`.
    pub(crate) max_issues: NonZeroU32,
    /// The time in which `max_issues` are counted.
    pub(crate) max_issues_within: Period,
}

impl Default for KeyLoadFileSettings {
    fn default() -> Self {
        Self {
            max_age: Period::from_secs(24 * 3600),
            max_ahead: Period::from_secs(5 * 60),
            // More than any module needs, fewer than its allowance would be in a day.
            max_issues: NonZeroU32::MIN.saturating_add(999),
            max_issues_within: Period::from_secs(24 * 3600),
        }
    }
}

impl KeyLoadFileSettings {
    pub(super) fn limit(&self) -> IssueLimit {
        IssueLimit {
            at_most: self.max_issues,
            within: self.max_issues_within.as_signed(),
        }
    }

    pub(super) fn is_past(&self, time: StsTime, accepted_at: Timestamp) -> bool {
        age(time, accepted_at) > self.max_age.as_signed()
    }

    pub(super) fn is_future(&self, time: StsTime, accepted_at: Timestamp) -> bool {
        -age(time, accepted_at) > self.max_ahead.as_signed()
    }
}

/// Subtracts two spans since 1970, because record times reach to the end of 9999,
/// some hours beyond any [`Timestamp`].
fn age(time: StsTime, accepted_at: Timestamp) -> SignedDuration {
    accepted_at.as_duration() - SignedDuration::from_secs(time.unix_seconds())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn judged(time: &str, accepted_at: &str) -> (bool, bool) {
        let (time, accepted_at) = (time.parse().unwrap(), accepted_at.parse().unwrap());
        let settings = KeyLoadFileSettings::default();
        (
            settings.is_past(time, accepted_at),
            settings.is_future(time, accepted_at),
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
        let endless = KeyLoadFileSettings {
            max_age: Period::from_secs(u64::MAX),
            max_ahead: Period::from_secs(u64::MAX),
            ..KeyLoadFileSettings::default()
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        for time in ["20000101T000000Z", "99991231T235959Z"] {
            let time = time.parse().unwrap();
            assert!(!endless.is_past(time, now) && !endless.is_future(time, now));
        }
    }
}
