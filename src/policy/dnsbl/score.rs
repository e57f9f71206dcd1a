//! Weighs the replies of zones into a score.

use std::net::Ipv4Addr;

use super::{site::Site, zone_name::ZoneName};

/// A zone and its reply about a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZoneReply {
    /// The zone that was asked.
    pub(crate) zone: ZoneName,
    /// Its reply about the client.
    pub(crate) reply: Reply,
}

/// A zone's reply about a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The client is listed, with these codes.
    Listed(Vec<Ipv4Addr>),
    /// The client is not listed.
    NotListed,
    /// The zone didn't answer in time.
    TimedOut,
    /// The zone can't be believed, for this reason.
    Failed(String),
}

impl Reply {
    /// The reason why there is no answer, if there is none.
    pub(crate) fn failure(&self) -> Option<&str> {
        match self {
            Reply::Listed(_) | Reply::NotListed => None,
            Reply::TimedOut => Some("it does not answer in time"),
            Reply::Failed(reason) => Some(reason),
        }
    }

    /// The reply that a zone's addresses mean. Codes are within 127.0.0.0/8 (RFC 5782
    /// 2.1), except for the operators' error codes in 127.255.255.0/24.
    pub(crate) fn of_addresses(addresses: Vec<Ipv4Addr>) -> Self {
        let error = addresses.iter().find_map(|address| match address.octets() {
            [127, 255, 255, _] => Some(format!("it answers {address}, an error code")),
            [127, ..] => None,
            _ => Some(format!("it answers {address}, which is no code of a list")),
        });
        match error {
            Some(error) => Reply::Failed(error),
            None if addresses.is_empty() => Reply::NotListed,
            None => Reply::Listed(addresses),
        }
    }
}

/// The result of all zones together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// The sum of the weights of the sites that match.
    pub(crate) total: i32,
    /// The total from which the client counts as listed.
    pub(crate) threshold: i32,
    /// The sites that match, in the order of the configuration.
    pub(crate) hits: Vec<Hit>,
    /// The zones without an answer. They do not count against the client.
    pub(crate) failures: Vec<Failure>,
}

/// A site that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// The zone of the site.
    pub(crate) zone: ZoneName,
    /// The code of the zone's reply that counts.
    pub(crate) code: Ipv4Addr,
    /// The weight of the site.
    pub(crate) weight: i32,
    /// The zone's reason for the listing (its TXT record).
    pub(crate) text: Option<String>,
}

/// A zone without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The zone that was asked.
    pub(crate) zone: ZoneName,
    /// The reason why there is no answer.
    pub(crate) reason: String,
}

impl Score {
    /// Weighs the replies. If several sites name a zone, each counts by itself.
    pub(crate) fn of(sites: &[Site], threshold: i32, replies: &[ZoneReply]) -> Self {
        let reply_of = |zone: &ZoneName| {
            let found = replies.iter().find(|reply| reply.zone == *zone)?;
            Some(&found.reply)
        };
        let hits: Vec<Hit> = sites
            .iter()
            .filter_map(|site| match reply_of(&site.zone)? {
                Reply::Listed(codes) => Some(Hit {
                    zone: site.zone.clone(),
                    code: site.first_match(codes)?,
                    weight: site.weight,
                    text: None,
                }),
                Reply::NotListed | Reply::TimedOut | Reply::Failed(_) => None,
            })
            .collect();
        let failures = replies.iter().filter_map(|reply| {
            Some(Failure {
                zone: reply.zone.clone(),
                reason: reply.reply.failure()?.to_owned(),
            })
        });
        Score {
            total: hits
                .iter()
                .fold(0, |total: i32, hit| total.saturating_add(hit.weight)),
            threshold,
            failures: failures.collect(),
            hits,
        }
    }

    /// Whether the client counts as listed.
    pub(crate) fn is_listed(&self) -> bool {
        self.total >= self.threshold
    }

    /// The sites with a positive weight.
    pub(crate) fn against(&self) -> impl Iterator<Item = &Hit> {
        self.hits.iter().filter(|hit| hit.weight > 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sites(texts: &[&str]) -> Vec<Site> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn listed(zone: &str, code: u8) -> ZoneReply {
        ZoneReply {
            zone: ZoneName::new(zone.to_owned()),
            reply: Reply::of_addresses(vec![Ipv4Addr::new(127, 0, 0, code)]),
        }
    }

    #[test]
    fn weights_add_up_and_an_allow_list_takes_off() {
        let sites = sites(&[
            "a.example=127.0.0.[2..11]*3",
            "b.example*2",
            "good.example*-4",
        ]);
        let total = |replies: &[ZoneReply]| Score::of(&sites, 3, replies).total;
        assert_eq!(total(&[]), 0);
        assert_eq!(total(&[listed("a.example", 4)]), 3);
        assert_eq!(total(&[listed("a.example", 20)]), 0);
        assert_eq!(total(&[listed("a.example", 4), listed("b.example", 99)]), 5);
        assert_eq!(
            total(&[
                listed("a.example", 4),
                listed("b.example", 2),
                listed("good.example", 3)
            ]),
            1
        );
        assert_eq!(total(&[listed("elsewhere.example", 2)]), 0);
    }

    #[test]
    fn a_zone_may_be_weighed_by_code() {
        let sites = sites(&["a.example=127.0.0.2*2", "a.example=127.0.0.[10;11]"]);
        let both = ZoneReply {
            zone: ZoneName::new("a.example".to_owned()),
            reply: Reply::Listed(vec![
                Ipv4Addr::new(127, 0, 0, 2),
                Ipv4Addr::new(127, 0, 0, 10),
            ]),
        };
        let score = Score::of(&sites, 3, &[both]);
        assert!(score.is_listed());
        assert_eq!(score.against().count(), 2);
        assert!(!Score::of(&sites, 3, &[listed("a.example", 2)]).is_listed());
    }

    #[test]
    fn error_codes_and_strange_addresses_list_nobody() {
        let sites = sites(&["a.example"]);
        for address in ["127.255.255.254", "127.255.255.1", "192.0.2.1", "0.0.0.0"] {
            let address: Ipv4Addr = address.parse().unwrap();
            let addresses = vec![Ipv4Addr::new(127, 0, 0, 2), address];
            let reply = ZoneReply {
                zone: ZoneName::new("a.example".to_owned()),
                reply: Reply::of_addresses(addresses),
            };
            let score = Score::of(&sites, 1, &[reply]);
            assert!(!score.is_listed(), "{address}");
            assert!(
                score.failures[0].reason.contains(&address.to_string()),
                "{score:?}"
            );
        }
        assert_eq!(Reply::of_addresses(vec![]), Reply::NotListed);
        let listed = vec![Ipv4Addr::new(127, 0, 0, 1)];
        assert_eq!(Reply::of_addresses(listed.clone()), Reply::Listed(listed));
    }
}
