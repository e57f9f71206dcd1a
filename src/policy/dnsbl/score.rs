//! From the replies of zones to a score.

use std::net::Ipv4Addr;

use super::{site::Site, zone_name::ZoneName};

/// What a zone says of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneReply {
    /// The zone.
    pub zone: ZoneName,
    /// What it says.
    pub reply: Reply,
}

/// A zone's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The client is listed, with these codes.
    Listed(Vec<Ipv4Addr>),
    /// It isn't.
    NotListed,
    /// The zone didn't answer in time.
    TimedOut,
    /// The zone can't be believed; why.
    Failed(String),
}

impl Reply {
    /// Why the zone says nothing, if it does.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        match self {
            Reply::Listed(_) | Reply::NotListed => None,
            Reply::TimedOut => Some("it does not answer in time"),
            Reply::Failed(reason) => Some(reason),
        }
    }

    /// What the addresses that a zone answers with say: codes within 127.0.0.0/8
    /// (RFC 5782 2.1), but for the operators' error codes in 127.255.255.0/24.
    #[must_use]
    pub fn of_addresses(addresses: Vec<Ipv4Addr>) -> Self {
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

/// What all zones together say of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// The sum of the weights of the sites that match.
    pub total: i32,
    /// From which total on the client counts as listed.
    pub threshold: i32,
    /// The sites that match, in the order of the configuration.
    pub hits: Vec<Hit>,
    /// The zones that said nothing; nobody is held to be listed for that.
    pub failures: Vec<Failure>,
}

/// A site that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The zone.
    pub zone: ZoneName,
    /// Its reply that counts.
    pub code: Ipv4Addr,
    /// What that weighs.
    pub weight: i32,
    /// Why the client is listed, in the zone's own words (its TXT record).
    pub text: Option<String>,
}

/// A zone that said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The zone.
    pub zone: ZoneName,
    /// Why.
    pub reason: String,
}

impl Score {
    /// Weighs the replies. Of a zone that is configured more than once each
    /// site counts by itself.
    #[must_use]
    pub fn of(sites: &[Site], threshold: i32, replies: &[ZoneReply]) -> Self {
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
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.total >= self.threshold
    }

    /// The sites that speak against the client.
    pub fn against(&self) -> impl Iterator<Item = &Hit> {
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
