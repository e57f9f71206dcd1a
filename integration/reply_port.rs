//! Postfix's reply port when it is slow: each reply is handed over once, and no
//! end of the gateway's waits for it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::{collections::BTreeSet, thread, time::Duration};

use harness::{ALICE, Draft, GATEWAY, Layout, Manner, Signer, Site, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// How long the signer hangs: many leases.
const HANG: Duration = Duration::from_secs(8);

/// A site whose replies pass a signer of its own, with the shortest lease.
fn with_signer(manner: Manner) -> (Site, Signer) {
    let layout = Layout::new();
    layout.set_gateway("worker", "lease", "1s");
    layout.set_gateway("worker", "first_retry", "1s");
    layout.set_gateway("worker", "longest_retry", "2s");
    let address = layout.port(8891);
    layout.set_postfix_service(18025, &format!("smtpd_milters=inet:{address}"));
    let signer = Signer::at(address, manner);
    (layout.start(), signer)
}

fn send(site: &Site, from: &str, subject: &str) {
    let draft = Draft::request(subject, "").with("From", from);
    let taken = site.smtp().send(from, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

fn json(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let shown = site.layout.gateway(arguments);
    serde_json::from_str(&shown).expect("an array")
}

/// The audit log's entries of this event.
fn events(site: &Site, event: &str) -> Vec<Value> {
    let mut entries = json(site, &["audit", "list", "--json"]);
    entries.retain(|entry| entry["event"] == event);
    entries
}

fn wait_for_empty_queue(site: &Site) {
    until("nothing waits", PATIENCE, || {
        json(site, &["queue", "list", "--json"])
            .is_empty()
            .then_some(())
    });
}

#[test]
fn a_reply_that_is_taken_after_many_leases_goes_out_once() {
    let (mut site, signer) = with_signer(Manner::Hangs);
    send(&site, ALICE, "{KMS:Help}");
    until("Postfix has the reply", PATIENCE, || {
        (signer.seen() > 0).then_some(())
    });
    thread::sleep(HANG);
    let queue = json(&site, &["queue", "list", "--json"]);
    assert_eq!(
        (&queue[0]["state"], &queue[0]["attempts"]),
        (&Value::from("in-work"), &Value::from(1)),
        "{queue:?}"
    );
    signer.change(Manner::Passes);
    site.mailbox(ALICE).wait_for_reply("{KMS:Help}");
    wait_for_empty_queue(&site);
    // Whatever else were on its way would arrive now.
    let gateway = site.gateway.take().expect("it runs");
    assert!(gateway.stop().success());
    until("Postfix's queue is empty", PATIENCE, || {
        site.postfix.queue().is_empty().then_some(())
    });
    assert_eq!(signer.seen(), 1, "copies");
    assert_eq!(site.mailbox(ALICE).mails().len(), 1);
    let delivered = events(&site, "delivered");
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0]["attempts"], 1);
}

#[test]
fn no_end_waits_for_a_port_that_hangs_and_the_reply_goes_out_after_the_next_start() {
    let (mut site, signer) = with_signer(Manner::Hangs);
    send(&site, ALICE, "{KMS:Help}");
    until("Postfix has the reply", PATIENCE, || {
        (signer.seen() > 0).then_some(())
    });
    let gateway = site.gateway.take().expect("it runs");
    assert!(gateway.stop().success());
    site.gateway = Some(site.layout.start_gateway());
    until("another attempt", PATIENCE, || {
        (signer.seen() > 1).then_some(())
    });
    signer.change(Manner::Passes);
    wait_for_empty_queue(&site);
    let replies = site.mailbox(ALICE).wait_for_count(2);
    let ids: BTreeSet<Option<String>> = replies
        .iter()
        .map(|reply| reply.header("Message-ID"))
        .collect();
    assert_eq!(ids.len(), 1, "one reply, though in two copies");
    let delivered = events(&site, "delivered");
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0]["attempts"], 2);
}
