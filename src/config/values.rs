//! The types that single keys are read into.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};

use crate::mail::Address;

/// An address of the gateway, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayAddress(pub Address);

impl FromStr for GatewayAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Address::parse(text)
            .map(Self)
            .map_err(|error| format!("{text:?} is no mail address ({error})"))
    }
}

/// Where the milter listens, in Postfix's own spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `inet:HOST:PORT`.
    Inet(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Default for ListenAddress {
    fn default() -> Self {
        Self::Inet("127.0.0.1:8890".to_owned())
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is neither inet:HOST:PORT nor unix:PATH");
        match text.split_once(':') {
            Some(("inet", address)) => match address.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::Inet(address.to_owned()))
                }
                _ => Err(wrong()),
            },
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(formatter, "inet:{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A length of time, written `90s`, `5min`, `24h`, `5d` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// A period of so many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn as_std(self) -> Duration {
        self.0
    }

    /// As date arithmetic has it; the longest one there is if it is longer.
    #[must_use]
    pub fn as_signed(self) -> SignedDuration {
        SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("{text:?} is no length of time such as \"30s\", \"5min\" or \"24h\"");
        // jiff's durations have no days, whose length may vary; ours is 24 h.
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

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON objects for machines.
    Json,
}

/// Reads a text key through `FromStr`, so that its error names what was
/// expected.
fn through_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

macro_rules! deserialize_through_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                through_text(deserializer)
            }
        }
    )*};
}

deserialize_through_text!(GatewayAddress, ListenAddress, Period);
