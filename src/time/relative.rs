//! Times relative to now, in words for people. Programs get exact times instead.
//! Pure.

use jiff::{SignedDuration, Timestamp};

/// How long ago something happened: `3 min ago`. If the clock was set back since:
/// `3 min ahead of this clock`.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let past = now.duration_since(time);
    match past.as_secs() {
        0 => "now".to_owned(),
        1.. => format!("{} ago", length(past)),
        _ => format!("{} ahead of this clock", length(past.abs())),
    }
}

/// When something is due: `in 12 s` or `now`.
pub(crate) fn until(time: Timestamp, now: Timestamp) -> String {
    let wait = time.duration_since(now);
    if !wait.is_positive() {
        return "now".to_owned();
    }
    // A started second counts whole, so that no wait is `in 0 s`.
    let started = i64::from(wait.subsec_nanos() > 0);
    let seconds = wait.as_secs().saturating_add(started);
    format!("in {}", length(SignedDuration::from_secs(seconds)))
}

/// A length of time in its largest unit, cut: `59 s`, `3 min`, `47 h`, `12 days`.
pub(crate) fn length(length: SignedDuration) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match length.as_secs() {
        seconds if seconds < MINUTE => format!("{seconds} s"),
        seconds if seconds < HOUR => format!("{} min", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} days", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MILLISECONDS: [(i64, &str, &str); 12] = [
        (0, "now", "now"),
        (400, "now", "in 1 s"),
        (1_000, "1 s ago", "in 1 s"),
        (1_001, "1 s ago", "in 2 s"),
        (59_999, "59 s ago", "in 1 min"),
        (60_000, "1 min ago", "in 1 min"),
        (119_000, "1 min ago", "in 1 min"),
        (3_599_000, "59 min ago", "in 59 min"),
        (3_600_000, "1 h ago", "in 1 h"),
        (172_799_000, "47 h ago", "in 47 h"),
        (172_800_000, "2 days ago", "in 2 days"),
        (34_560_000_000, "400 days ago", "in 400 days"),
    ];

    #[test]
    fn the_past_and_the_future_are_told_in_one_unit() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for (milliseconds, past, future) in MILLISECONDS {
            let length = SignedDuration::from_millis(milliseconds);
            assert_eq!(ago(now - length, now), past, "{milliseconds}");
            assert_eq!(until(now + length, now), future, "{milliseconds}");
        }
    }

    #[test]
    fn a_clock_set_back_shows_and_nothing_is_due_in_the_past() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let hour = SignedDuration::from_hours(1);
        assert_eq!(ago(now + hour, now), "1 h ahead of this clock");
        assert_eq!(until(now - hour, now), "now");
        assert_eq!(
            ago(Timestamp::MIN, Timestamp::MAX),
            format!(
                "{} days ago",
                Timestamp::MAX.duration_since(Timestamp::MIN).as_hours() / 24
            )
        );
    }
}
