//! The rule `dnsbl`: what a score does, and whom it is asked about.

use std::net::{IpAddr, Ipv4Addr};

use super::{GATEWAY, Mail};
use crate::mail::{Address, Client, ReversePath};
use crate::policy::dnsbl::{Reply, Score, Site, ZoneReply};
use crate::policy::{Envelope, Limits, Listener, RuleName, Settings, Verdict, judge_recipients};

/// The score of a client that one zone lists.
pub(super) fn listed() -> Score {
    score("bl.example=127.0.0.[2..11]*2", 2, &[2])
}

fn score(site: &str, threshold: i32, codes: &[u8]) -> Score {
    let site: Site = site.parse().unwrap();
    let codes = codes.iter().map(|code| Ipv4Addr::new(127, 0, 0, *code));
    let reply = ZoneReply {
        zone: site.zone.clone(),
        reply: Reply::of_addresses(codes.collect()),
    };
    Score::of(&[site], threshold, &[reply])
}

fn with(score: Score) -> Mail {
    Mail {
        dnsbl: Some(score),
        ..Mail::request()
    }
}

#[test]
fn a_listed_client_is_refused_and_told_where() {
    let judgement = with(listed()).judge();
    assert_eq!(judgement.verdict(), Verdict::Reject);
    assert_eq!(judgement.rule(), Some(RuleName("dnsbl")));
    assert_eq!(
        judgement.reason(),
        Some("client [192.0.2.9] is listed in bl.example (127.0.0.2)")
    );
}

#[test]
fn the_zones_own_words_are_quoted() {
    let mut score = listed();
    score.hits[0].text = Some("see https://bl.example/?q=192.0.2.9\r\n250 \u{202e}ok".to_owned());
    let reason = with(score).judge().reason().unwrap().to_owned();
    assert_eq!(
        reason,
        "client [192.0.2.9] is listed in bl.example (127.0.0.2: \
         \"see https://bl.example/?q=192.0.2.9\\r\\n250 \\u{202e}ok\")"
    );
}

#[test]
fn below_the_threshold_nobody_is_refused() {
    for score in [
        score("bl.example", 2, &[2]),
        score("bl.example=127.0.0.[2..11]", 1, &[12]),
        score("bl.example", 1, &[]),
        score("good.example*-3", 1, &[2]),
    ] {
        with(score).is_answered();
    }
}

#[test]
fn a_listed_client_is_refused_at_rcpt_already() {
    let (gateway, reverse_path, score) = (super::gateway(), ReversePath::Null, listed());
    let own: [Address; 1] = [GATEWAY.parse().unwrap()];
    let judged = |listener| {
        judge_recipients(&Envelope {
            listener,
            client: Client::default(),
            reverse_path: &reverse_path,
            recipients: &own,
            gateway: &gateway,
            dnsbl: Some(&score),
        })
    };
    let judgement = judged(Listener::Outer).unwrap();
    assert_eq!(judgement.verdict(), Verdict::Reject);
    // By the internal listener the client is our own Postfix.
    assert_eq!(judged(Listener::Internal), None);
}

#[test]
fn logins_and_trusted_networks_are_the_sites_own() {
    let client = |address: &str, authenticated| Client {
        address: Some(address.parse::<IpAddr>().unwrap()),
        authenticated,
    };
    let settings = Settings {
        limits: Limits {
            trusted_networks: ["10.0.0.0/8", "2001:db8::/32", "127.0.0.0/8"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
            ..Limits::default()
        },
        ..Settings::default()
    };
    for own in ["10.9.8.7", "2001:db8::1", "127.3.2.1"] {
        assert!(settings.trusts(&client(own, false)), "{own}");
    }
    for other in ["192.0.2.9", "2001:db9::1", "11.0.0.1"] {
        assert!(!settings.trusts(&client(other, false)), "{other}");
        assert!(settings.trusts(&client(other, true)), "{other}");
    }
    let nowhere = Client::default();
    assert!(!settings.trusts(&nowhere));
    assert!(Settings::default().trusts(&client("127.0.0.1", false)));
    assert!(!Settings::default().trusts(&client("10.0.0.1", false)));
}
