//! One message or two, through a real Postfix: a copy takes nobody's answer away,
//! and a message that is offered again gets one answer.

use std::{os::unix::process::ExitStatusExt, time::Duration};

use kms_gateway::faults::VARIABLE;
use serde_json::Value;

use crate::harness::{ALICE, BOB, Draft, GATEWAY, Layout, Site, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn send(site: &Site, draft: &Draft) {
    let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

/// How many entries of the audit log have this event.
fn count(site: &Site, event: &str) -> usize {
    let json = site.layout.gateway(&["audit", "list", "--json"]);
    let entries: Vec<Value> = serde_json::from_str(&json).expect("an array");
    let of_event = entries.iter().filter(|entry| entry["event"] == event);
    of_event.count()
}

#[test]
fn a_copy_that_came_first_takes_no_answer_away() {
    let site = Layout::new().start();
    let original = Draft::request("{KMS:Help} mine", "please\n");
    let copies = [
        original.clone().with("Reply-To", BOB),
        original.clone().with("Sender", BOB),
        original.clone().with("Content-Type", "text/html"),
        original.clone().with("Content-Disposition", "attachment"),
    ];
    for copy in &copies {
        send(&site, copy);
    }
    send(&site, &original);
    // All of them name one Message-ID; the one with a Reply-To goes to Bob.
    site.mailbox(ALICE).wait_for_count(copies.len());
    site.mailbox(BOB).wait_for_reply("{KMS:Help} mine");
    send(&site, &original);
    assert_eq!(count(&site, "accepted"), copies.len() + 1);
    assert_eq!(count(&site, "duplicate"), 1);
}

#[test]
fn two_alike_requests_without_a_message_id_get_an_answer_each() {
    let site = Layout::new().start();
    let alike = Draft::request("{KMS:Help} twice", "please\n").without("Message-ID");
    for _ in 0..2 {
        send(&site, &alike);
    }
    site.mailbox(ALICE).wait_for_count(2);
    assert_eq!(count(&site, "accepted"), 2);
    // By the internal listener Postfix calls each of them by a name of its own.
    let queued = site
        .smtp_without_milters()
        .send(ALICE, &[GATEWAY], &alike.to_bytes());
    assert_eq!(queued.code, 250, "{queued:?}");
    site.mailbox(ALICE).wait_for_count(3);
    assert_eq!(count(&site, "duplicate"), 0);
}

/// The gateway dies between the commit and its answer. Postfix offers the
/// message again by the internal listener, and does there what it may do to a
/// local client's mail: adds the fields that lack, and encodes the text anew.
#[test]
fn what_postfix_offers_again_is_one_message_whatever_it_adds() {
    let layout = Layout::new();
    layout.set_postfix_service(18026, "local_header_rewrite_clients=permit_inet_interfaces");
    layout.set_postfix_service(18026, "smtpd_discard_ehlo_keywords=8bitmime");
    layout.set_gateway("worker", "lease", "2s");
    let eight_bits = |subject: &str| {
        Draft::request(subject, "Gr\u{fc}\u{df}e\n")
            .with("MIME-Version", "1.0")
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("Content-Transfer-Encoding", "8bit")
    };
    let drafts = [
        eight_bits("{KMS:Help} named"),
        eight_bits("{KMS:Help} nameless").without("Message-ID"),
        eight_bits("{KMS:Help} undated")
            .without("Message-ID")
            .without("Date"),
    ];
    let mut site = layout.start_with(None);
    site.gateway_dies = true;
    for (number, draft) in (1..).zip(&drafts) {
        let doom = format!("{VARIABLE}=AfterSpoolCommit:1");
        let doomed = site.layout.start_gateway_by(&["env", &doom]);
        send(&site, draft);
        assert_eq!(doomed.wait_for_end().signal(), Some(9));
        let gateway = site.layout.start_gateway();
        site.postfix.deliver_all();
        until("it is offered again", PATIENCE, || {
            let queue_is_empty = site.postfix.queue().is_empty();
            (queue_is_empty && count(&site, "duplicate") == number).then_some(())
        });
        site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
        assert!(gateway.stop().success());
    }
    assert_eq!(count(&site, "accepted"), drafts.len());
    assert_eq!(site.mailbox(ALICE).mails().len(), drafts.len());
}
