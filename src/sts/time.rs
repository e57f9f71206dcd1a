//! Times inside records: whole seconds of UTC.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::error::FieldError;

/// A moment of UTC written `yyyymmddThhmmssZ`, years 2000 to 9999.
///
/// Holds a civil time, because a [`Timestamp`] ends before the last day of 9999.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StsTime(DateTime);

impl StsTime {
    /// `timestamp` without its fraction of a second. `None` if the year is out
    /// of range.
    pub fn from_timestamp(timestamp: Timestamp) -> Option<Self> {
        let moment = Offset::UTC.to_datetime(timestamp);
        let second = Time::new(moment.hour(), moment.minute(), moment.second(), 0).ok()?;
        Self::new(moment.date(), second)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) fn unix_seconds(self) -> i64 {
        self.0
            .duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0))
            .as_secs()
    }

    fn new(date: Date, time: Time) -> Option<Self> {
        (date.year() >= 2000).then(|| Self(date.to_datetime(time)))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('Z')?;
        let (date, time) = digits.split_once('T')?;
        if !is_digits(date, 8) || !is_digits(time, 6) {
            return None;
        }
        let [year, month, day] = [date.get(0..4)?, date.get(4..6)?, date.get(6..)?];
        let [hour, minute, second] = [time.get(0..2)?, time.get(2..4)?, time.get(4..)?];
        let date = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
        let time = Time::new(
            hour.parse().ok()?,
            minute.parse().ok()?,
            second.parse().ok()?,
            0,
        );
        Self::new(date.ok()?, time.ok()?)
    }
}

fn is_digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for StsTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = (self.0.date(), self.0.time());
        write!(
            formatter,
            "{:04}{:02}{:02}T",
            date.year(),
            date.month(),
            date.day()
        )?;
        write!(
            formatter,
            "{:02}{:02}{:02}Z",
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

impl FromStr for StsTime {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::parse(text).ok_or_else(|| {
            FieldError::format(
                "a UTC time yyyymmddThhmmssZ from 2000 to 9999 that exists",
                text,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn takes_times_that_exist() {
        for text in [
            "20000101T000000Z",
            "20200229T235959Z",
            "20240101T000000Z",
            "99991231T235959Z",
        ] {
            assert_eq!(text.parse::<StsTime>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn has_one_spelling() {
        for text in [
            "",
            "19991231T235959Z",
            "20210229T000000Z",
            "20200101T240000Z",
            "20200101T000060Z",
            "20200101T006000Z",
            "20201301T000000Z",
            "20200101t000000z",
            "20200101T000000",
            "2020-01-01T00:00:00Z",
            "20200101 000000Z",
            "2020010TT000000Z",
            "+2020101T000000Z",
            "20200101T+10000Z",
            "120200101T000000Z",
            "20200101T0000000Z",
            "2020010T0000000Z",
            "202001010T00000Z",
            "２0200101T000000Z",
        ] {
            assert!(text.parse::<StsTime>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn counts_unix_seconds_to_its_last_moment() {
        let last: StsTime = "99991231T235959Z".parse().unwrap();
        assert_eq!(last.unix_seconds(), 253_402_300_799);
        let first: StsTime = "20000101T000000Z".parse().unwrap();
        assert_eq!(first.unix_seconds(), 946_684_800);
    }

    #[test]
    fn comes_from_a_timestamp_without_its_fraction() {
        let moment: Timestamp = "2020-06-22T14:40:47.999Z".parse().unwrap();
        let time = StsTime::from_timestamp(moment).unwrap();
        assert_eq!(time.to_string(), "20200622T144047Z");
        assert_eq!(time.unix_seconds(), moment.as_second());
        assert_eq!(
            StsTime::from_timestamp("1999-12-31T23:59:59Z".parse().unwrap()),
            None
        );
    }
}
