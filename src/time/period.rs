//! A length of time as people write it.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{
    SignedDuration,
    fmt::friendly::{Designator, Spacing, SpanPrinter},
};

use crate::as_text::as_text;

/// A length of time, written `90s`, `5min`, `24h`, `5d` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Period(Duration);

impl Period {
    /// A period of so many seconds.
    pub(crate) const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The sum of both, or the longest period there is.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The period for the standard library.
    pub(crate) const fn as_std(self) -> Duration {
        self.0
    }

    /// The period for date arithmetic; [`SignedDuration::MAX`] if it is longer.
    #[must_use]
    pub(crate) fn as_signed(self) -> SignedDuration {
        SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX)
    }

    /// The period in words: `24 hours`, `5 days`.
    pub(crate) fn in_words(self) -> String {
        const DAY: u64 = 24 * 3600;
        let seconds = self.0.as_secs();
        if seconds > DAY && seconds.is_multiple_of(DAY) {
            return format!("{} days", seconds / DAY);
        }
        SpanPrinter::new()
            .designator(Designator::Verbose)
            .spacing(Spacing::BetweenUnitsAndDesignators)
            .duration_to_string(&self.as_signed())
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("{text:?} is no length of time such as \"30s\", \"5min\" or \"24h\"");
        // jiff has no days, because their length varies. A day here is 24 h.
        let text = text.trim();
        let days = text
            .strip_suffix('d')
            .map(|number| number.trim().parse::<u64>());
        if let Some(Ok(days)) = days {
            return days
                .checked_mul(24 * 3600)
                .map(Self::from_secs)
                .ok_or_else(wrong);
        }
        let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
        Duration::try_from(duration).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#}", self.as_signed())
    }
}

as_text!(Period);
