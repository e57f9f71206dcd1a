//! The types that single keys are read into.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use jiff::{
    SignedDuration,
    fmt::friendly::{Designator, Spacing, SpanPrinter},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
    ser::SerializeMap,
};

use super::LogLevel;
use crate::{kms::update::StsaPublicKey, mail::Address, policy::dnsbl::Site, sts::StsTime};

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

impl fmt::Display for GatewayAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
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

    /// Both, one after the other.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
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

    /// In a person's words: `24 hours`, `5 days`.
    #[must_use]
    pub fn in_words(self) -> String {
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

/// A network, written `192.0.2.0/24`, or an address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let network: IpNet = text
            .parse()
            .map_err(|_| format!("{text:?} is no network such as \"192.0.2.0/24\""))?;
        if network.trunc() == network {
            Ok(Self(network))
        } else {
            let truncated = network.trunc();
            Err(format!(
                "{text:?} is an address within {truncated}: write one of the two"
            ))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A DNS blocklist: a text as in Postfix's `postscreen_dnsbl_sites`, or a
/// table that says more of the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsblZone {
    /// Zone, filter of replies, weight.
    pub site: Site,
    /// Whether it lists IPv4 addresses.
    pub ipv4: bool,
    /// Whether it lists IPv6 addresses.
    pub ipv6: bool,
    /// Whether its test entries (RFC 5782 5) show that it is well; private
    /// zones may have none.
    pub health: bool,
}

impl<'de> Deserialize<'de> for DnsblZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DnsblZoneVisitor)
    }
}

/// A key in the zone's name is not shown.
impl Serialize for DnsblZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let zone = &self.site.zone;
        if self.ipv4 && self.ipv6 && self.health && !zone.has_key() {
            return serializer.collect_str(&self.site);
        }
        let mut table = serializer.serialize_map(None)?;
        table.serialize_entry("site", &self.site.masked())?;
        if zone.has_key() {
            table.serialize_entry("public_name", zone.public())?;
        }
        table.serialize_entry("ipv4", &self.ipv4)?;
        table.serialize_entry("ipv6", &self.ipv6)?;
        table.serialize_entry("health", &self.health)?;
        table.end()
    }
}

struct DnsblZoneVisitor;

impl<'de> Visitor<'de> for DnsblZoneVisitor {
    type Value = DnsblZone;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"zone=filter*weight\" or a table with that as its site")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<DnsblZone, E> {
        Ok(DnsblZone {
            site: text.parse().map_err(E::custom)?,
            ipv4: true,
            ipv6: true,
            health: true,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DnsblZone, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            site: String,
            public_name: Option<String>,
            #[serde(default = "yes")]
            ipv4: bool,
            #[serde(default = "yes")]
            ipv6: bool,
            #[serde(default = "yes")]
            health: bool,
        }
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        if !table.ipv4 && !table.ipv6 {
            return Err(de::Error::custom(
                "neither ipv4 nor ipv6 is true, so that nobody would be looked up",
            ));
        }
        let mut site: Site = table.site.parse().map_err(de::Error::custom)?;
        if let Some(public_name) = table.public_name {
            site = site.shown_as(&public_name).map_err(de::Error::custom)?;
        }
        Ok(DnsblZone {
            site,
            ipv4: table.ipv4,
            ipv6: table.ipv6,
            health: table.health,
        })
    }
}

fn yes() -> bool {
    true
}

/// A time as records write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StsTimeText(pub StsTime);

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

/// A public key of the STSA's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsaPublicKeyText(pub StsaPublicKey);

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

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
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

macro_rules! through_its_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                through_text(deserializer)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

through_its_text!(
    GatewayAddress,
    ListenAddress,
    LogLevel,
    Network,
    Period,
    StsTimeText,
    StsaPublicKeyText
);
