//! A blocklist as it is configured, in the syntax of Postfix's
//! `postscreen_dnsbl_sites`: `zone=filter*weight`.

use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;

use super::zone_name::{ZoneName, without_keys};

/// A zone, the replies that count, and their weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// The zone's domain in lower case, without a trailing dot.
    pub(crate) zone: ZoneName,
    /// The replies that count. Without a filter all replies count that are no error.
    pub(crate) filter: Option<ReplyFilter>,
    /// The number added to the score; less than zero for an allow list.
    pub(crate) weight: i32,
}

/// The reason why a text is no site.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum SiteError {
    /// The text does not start with a domain.
    #[error("{0:?} is no domain of a zone")]
    Zone(String),
    /// The public name is no domain.
    #[error(
        "{:?} is no public name of a zone such as zen.dq.spamhaus.net",
        without_keys(_0)
    )]
    PublicName(String),
    /// The filter is malformed.
    #[error("{0:?} is no filter of replies such as 127.0.0.[2..11]")]
    Filter(String),
    /// The weight is malformed.
    #[error("{0:?} is no weight such as 3 or -2")]
    Weight(String),
}

impl Site {
    /// The first of a zone's replies that counts here.
    pub(crate) fn first_match(&self, replies: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        replies.iter().copied().find(|reply| {
            self.filter
                .as_ref()
                .is_none_or(|filter| filter.matches(*reply))
        })
    }

    /// The same site, with another public name of its zone.
    ///
    /// # Errors
    /// [`SiteError::PublicName`].
    pub(crate) fn shown_as(self, public: &str) -> Result<Self, SiteError> {
        let public = parse_zone(public).map_err(|_| SiteError::PublicName(without_keys(public)))?;
        Ok(Self {
            zone: self.zone.shown_as(public),
            ..self
        })
    }

    /// The text of the configuration, with a mark in place of a key in the zone's name.
    pub(crate) fn masked(&self) -> String {
        self.zone.masked() + &self.effect()
    }

    /// Filter and weight, as the configuration has them.
    fn effect(&self) -> String {
        let filter = self.filter.as_ref().map(|filter| format!("={filter}"));
        let filter = filter.unwrap_or_default();
        match self.weight {
            1 => filter,
            weight => format!("{filter}*{weight}"),
        }
    }
}

impl FromStr for Site {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        let text = text.trim();
        let (rest, weight) = match text.split_once('*') {
            Some((rest, weight)) => (rest, parse_weight(weight)?),
            None => (text, 1),
        };
        let (zone, filter) = match rest.split_once('=') {
            Some((zone, filter)) => (zone, Some(filter.parse()?)),
            None => (rest, None),
        };
        Ok(Site {
            zone: ZoneName::new(parse_zone(zone)?),
            filter,
            weight,
        })
    }
}

fn parse_weight(text: &str) -> Result<i32, SiteError> {
    text.parse().map_err(|_| SiteError::Weight(text.to_owned()))
}

/// The longest zone before which the 32 nibbles of an IPv6 address, with their
/// dots, still make a domain name (RFC 1035 3.1: 253 characters).
const LONGEST_ZONE: usize = 253 - 64;

/// Reads a zone's domain, or the public name of one.
fn parse_zone(text: &str) -> Result<String, SiteError> {
    let zone = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if zone.len() <= LONGEST_ZONE && zone.split('.').all(is_label) {
        Ok(zone.to_ascii_lowercase())
    } else {
        Err(SiteError::Zone(without_keys(text)))
    }
}

/// The text of the configuration, without a key in the zone's name.
impl Display for Site {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.zone, self.effect())
    }
}

/// The addresses of a zone's reply that count: four numbers. Each may be a set in
/// brackets, of numbers and ranges with `;` between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyFilter([Octet; 4]);

/// The ranges of one of the four numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Octet(Vec<(u8, u8)>);

impl ReplyFilter {
    /// Whether this reply counts.
    pub(crate) fn matches(&self, reply: Ipv4Addr) -> bool {
        self.0
            .iter()
            .zip(reply.octets())
            .all(|(octet, own)| octet.0.iter().any(|&(from, to)| (from..=to).contains(&own)))
    }
}

impl FromStr for ReplyFilter {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        parse_filter(text).ok_or_else(|| SiteError::Filter(text.to_owned()))
    }
}

fn parse_filter(text: &str) -> Option<ReplyFilter> {
    let mut rest = text;
    let mut octets = Vec::with_capacity(4);
    loop {
        let (octet, after) = match rest.strip_prefix('[') {
            Some(set) => {
                let (set, after) = set.split_once(']')?;
                let ranges: Option<Vec<_>> = set.split(';').map(parse_range).collect();
                (Octet(ranges?), after)
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let (number, after) = rest.split_at_checked(end)?;
                (Octet(vec![parse_range(number)?]), after)
            }
        };
        octets.push(octet);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return None,
        }
    }
    octets.try_into().ok().map(ReplyFilter)
}

/// `7`, or `2..11` within brackets; the dots of the latter part no octets there.
fn parse_range(text: &str) -> Option<(u8, u8)> {
    let number = |text: &str| {
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
        is_decimal.then(|| text.parse::<u8>().ok()).flatten()
    };
    match text.split_once("..") {
        Some((from, to)) => Some((number(from)?, number(to)?)).filter(|(from, to)| from <= to),
        None => number(text).map(|only| (only, only)),
    }
}

impl Display for ReplyFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let octets: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&octets.join("."))
    }
}

impl Display for Octet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let range = |&(from, to): &(u8, u8)| match from == to {
            true => from.to_string(),
            false => format!("{from}..{to}"),
        };
        match self.0.as_slice() {
            [(from, to)] if from == to => write!(f, "{from}"),
            ranges => {
                let ranges: Vec<String> = ranges.iter().map(range).collect();
                write!(f, "[{}]", ranges.join(";"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn site(text: &str) -> Site {
        text.parse().unwrap()
    }

    fn counts(text: &str, reply: &str) -> bool {
        site(text).first_match(&[reply.parse().unwrap()]).is_some()
    }

    #[test]
    fn sites_are_read_as_postscreen_reads_them() {
        assert_eq!(
            site("Zen.Spamhaus.ORG."),
            Site {
                zone: ZoneName::new("zen.spamhaus.org".to_owned()),
                filter: None,
                weight: 1
            }
        );
        let weighted = site("zen.spamhaus.org=127.0.0.[2..11]*3");
        assert_eq!(weighted.weight, 3);
        assert_eq!(site("list.dnswl.org=127.0.[0..255].[1..3]*-2").weight, -2);
        assert_eq!(site("bl.example*0").weight, 0);
    }

    #[test]
    fn a_zone_may_have_a_key_that_no_form_of_the_site_shows() {
        let text = "aaaabbbbccccddddeeee.zen.dq.spamhaus.net=127.0.0.[2..11]*3";
        let site = site(text);
        assert_eq!(site.to_string(), "zen.dq.spamhaus.net=127.0.0.[2..11]*3");
        assert_eq!(site.masked(), "<key>.zen.dq.spamhaus.net=127.0.0.[2..11]*3");
        assert!(site.masked().parse::<Site>().is_err(), "it can't be asked");
        let site = site.shown_as("Spamhaus.example.").unwrap();
        assert_eq!(site.to_string(), "spamhaus.example=127.0.0.[2..11]*3");
        assert_eq!(site.masked(), "<key>=127.0.0.[2..11]*3");
        let error = "aaaabbbbccccddddeeee..net".parse::<Site>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("aaaa"), "{error}");
    }

    #[test]
    fn filters_choose_among_replies() {
        let zen = "zen.spamhaus.org=127.0.0.[2..11]";
        for reply in ["127.0.0.2", "127.0.0.4", "127.0.0.11"] {
            assert!(counts(zen, reply), "{reply}");
        }
        for reply in ["127.0.0.1", "127.0.0.12", "127.0.1.4", "126.0.0.4"] {
            assert!(!counts(zen, reply), "{reply}");
        }
        for reply in ["127.0.0.2", "127.0.0.5", "127.0.0.7"] {
            assert!(counts("bl.example=127.0.0.[2;4..6;7]", reply), "{reply}");
        }
        assert!(!counts("bl.example=127.0.0.[2;4..6;7]", "127.0.0.3"));
        assert!(counts("bl.example=127.0.0.10", "127.0.0.10"));
        assert!(counts("bl.example", "127.9.9.9"));
        let replies = ["127.0.0.99", "127.0.0.4", "127.0.0.2"].map(|text| text.parse().unwrap());
        assert_eq!(
            site(zen).first_match(&replies),
            Some(Ipv4Addr::new(127, 0, 0, 4))
        );
    }

    #[test]
    fn whatever_else_is_refused_and_named() {
        for (text, named) in [
            ("", "no domain"),
            ("*3", "no domain"),
            ("=127.0.0.2", "no domain"),
            ("bl..example", "no domain"),
            ("bl.example=", "no filter"),
            ("bl.example=127.0.0", "no filter"),
            ("bl.example=127.0.0.2.3", "no filter"),
            ("bl.example=127.0.0.[2..", "no filter"),
            ("bl.example=127.0.0.[]", "no filter"),
            ("bl.example=127.0.0.[9..2]", "no filter"),
            ("bl.example=127.0.0.[2]x", "no filter"),
            ("bl.example=127.0.0.256", "no filter"),
            ("bl.example=127.0.0.+2", "no filter"),
            ("bl.example=127.0.0.2..4", "no filter"),
            ("bl.example*", "no weight"),
            ("bl.example*many", "no weight"),
            ("bl.example*2*3", "no weight"),
            ("ex ample.org", "no domain"),
        ] {
            let error = text.parse::<Site>().unwrap_err().to_string();
            assert!(error.contains(named), "{text:?}: {error}");
        }
        assert!(
            format!("{}.example", "a.".repeat(100))
                .parse::<Site>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_is_read(
            octets in prop::array::uniform4(prop::collection::vec((any::<u8>(), any::<u8>()), 1..4)),
            weight in any::<i32>(),
        ) {
            let octets = octets.map(|ranges| {
                Octet(ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect())
            });
            let own = Site { zone: ZoneName::new("bl.example".to_owned()), filter: Some(ReplyFilter(octets)), weight };
            prop_assert_eq!(own.to_string().parse::<Site>().unwrap(), own);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[a-z0-9.=*;\\[\\]-]{0,40}") {
            let _ = text.parse::<Site>();
        }
    }
}
