//! The server away for a time: mail for others arrives, and the gateways' own waits and is answered
//! afterwards, without a restart.

use std::time::{Duration, Instant};

use crate::{
    harness::{BOB, Draft, GATEWAY, Postgresql, Site},
    requests::{Asked, address, help, offer},
    sites::Layouts,
};

/// Whoever does not need the server does not wait for it.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn what_is_the_gateways_waits_until_the_server_is_back() {
    let mut server = Postgresql::start();
    let mut pair = Layouts::impatient(&server.settings()).start();
    pair.allow_trouble();
    let processes = [0, 1].map(|number| pair.gateway(number).id());
    let asked = Asked::default();
    // Each gateway has used its connection.
    for (number, site) in pair.0.iter().enumerate() {
        let draft = help(&address(number), "before");
        assert_eq!(offer(site, &draft).code, 250);
        asked.add(draft);
    }
    server.kill();
    let mut refused = Vec::new();
    for (number, site) in pair.0.iter().enumerate() {
        let for_both = help(&address(number), "and Bob").with("Cc", BOB);
        let begun = Instant::now();
        submit(site, &[GATEWAY, BOB], &for_both);
        submit(site, &[BOB], &Draft::request("lunch?", "").with("To", BOB));
        site.mailbox(BOB).wait_for_count(2);
        let draft = help(&address(number), "alone");
        let answer = offer(site, &draft);
        assert!(answer.text.starts_with("451 4.3.0"), "{answer:?}");
        assert!(begun.elapsed() < AT_ONCE, "after {:?}", begun.elapsed());
        asked.add(for_both);
        refused.push(draft);
    }
    server.launch();
    for (site, draft) in pair.0.iter().zip(refused) {
        let taken = offer(site, &draft);
        assert_eq!(taken.code, 250, "{taken:?}");
        asked.add(draft);
    }
    asked.assert_answered_once(&pair);
    assert_eq!(pair.mails(BOB).len(), 4, "Bob got one twice");
    assert_eq!(processes, [0, 1].map(|number| pair.gateway(number).id()));
}

fn submit(site: &Site, recipients: &[&str], draft: &Draft) {
    let from = draft.header("From");
    let taken = site.smtp().send(from, recipients, &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}
