//! `[dnsbl]`: which blocklists are asked, and what their answers weigh.

use std::fmt;
use std::net::SocketAddr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Period;

use super::site::Site;

/// `[dnsbl]`: DNS blocklists, asked about clients with mail for the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The sites, as in Postfix's `postscreen_dnsbl_sites`; none by default.
    pub(crate) zones: Vec<ConfiguredSite>,
    /// The score from which a client is refused.
    pub(crate) threshold: i32,
    /// The name server to ask. Without one those of /etc/resolv.conf are asked.
    pub(crate) resolver: Option<SocketAddr>,
    /// The longest time for all questions about one client together.
    pub(crate) time_limit: Period,
    /// The time after which a zone that was switched off is tried again.
    pub(crate) recheck: Period,
}

impl Settings {
    /// The largest `time_limit`. Postfix waits 10 s for the answer to RCPT, by
    /// main.cf.part.
    pub(crate) const LONGEST_LOOK_UP: Period = Period::from_secs(8);
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            zones: Vec::new(),
            threshold: 1,
            resolver: None,
            time_limit: Self::LONGEST_LOOK_UP,
            recheck: Period::from_secs(60),
        }
    }
}

/// A site and the properties of its zone: a text as in Postfix's
/// `postscreen_dnsbl_sites`, or a table with that text and the properties. If
/// several sites name a zone, the properties of the first count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredSite {
    /// Zone, filter of replies and weight.
    pub(crate) site: Site,
    /// Whether the zone lists IPv4 addresses.
    pub(crate) ipv4: bool,
    /// Whether the zone lists IPv6 addresses.
    pub(crate) ipv6: bool,
    /// Whether the zone's test entries (RFC 5782 5) show that it is well. Private
    /// zones may have none.
    pub(crate) health: bool,
}

impl<'de> Deserialize<'de> for ConfiguredSite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SiteVisitor)
    }
}

/// Does not show a key in the zone's name.
impl Serialize for ConfiguredSite {
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

struct SiteVisitor;

impl<'de> Visitor<'de> for SiteVisitor {
    type Value = ConfiguredSite;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"zone=filter*weight\" or a table with that as its site")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ConfiguredSite, E> {
        Ok(ConfiguredSite {
            site: text.parse().map_err(E::custom)?,
            ipv4: true,
            ipv6: true,
            health: true,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ConfiguredSite, A::Error> {
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
        Ok(ConfiguredSite {
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
