//! The types of single keys.

use std::{fmt, path::PathBuf, str::FromStr};

use rustix::system::uname;
use serde::{Deserialize, Serialize};

use crate::{as_text::as_text, kms::update::StsaPublicKey, mail::Address, sts::StsTime};

/// A mail address, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GatewayAddress(pub(crate) Address);

impl FromStr for GatewayAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Address::parse(text)
            .map(Self)
            .map_err(|error| format!("{text:?} is no mail address ({error})"))
    }
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The name of a gateway: one word that needs no quotation marks in a log or a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeName(String);

impl NodeName {
    /// Length of the longest name. No host name is longer (gethostname(2)).
    pub(super) const LONGEST: usize = 64;

    /// The machine's host name. Characters that no name has become hyphens.
    pub(super) fn of_host() -> Self {
        let host = uname();
        let host = host.nodename().to_string_lossy();
        let fitting = host.chars().map(|c| if is_of_name(c) { c } else { '-' });
        let name: String = fitting.take(Self::LONGEST).collect();
        match name.is_empty() {
            true => Self("localhost".to_owned()),
            false => Self(name),
        }
    }
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (1..=Self::LONGEST).contains(&text.len()) && text.chars().all(is_of_name) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "{text:?} is no name of 1 to {} letters, digits, dots, hyphens and underscores",
                Self::LONGEST
            )),
        }
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The address of the milter's port or socket, in Postfix's own spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
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

/// A time as records write it, such as `20260101T000000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StsTimeText(pub(crate) StsTime);

impl FromStr for StsTimeText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("{text:?} is no time such as \"20260101T000000Z\""))
    }
}

impl fmt::Display for StsTimeText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A public key of the STSA, as hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StsaPublicKeyText(pub(crate) StsaPublicKey);

impl FromStr for StsaPublicKeyText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        StsaPublicKey::read(text)
            .map(Self)
            .map_err(|error| format!("it is no public key of the STSA's: {error}"))
    }
}

impl fmt::Display for StsaPublicKeyText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_text().fmt(formatter)
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON objects for machines.
    Json,
}

as_text!(
    GatewayAddress,
    ListenAddress,
    NodeName,
    StsTimeText,
    StsaPublicKeyText
);
