//! Floods (STS600-9-2 clause 4): who asks too much waits, then is blocked, and
//! is told so once each time; nobody else notices.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

use std::time::Duration;

use harness::{
    ALICE, BOB, Draft, GATEWAY, Layout, Mail, Module, Site, Smtp, SoftwareModule, until,
};
use serde_json::Value;

/// A vendor that runs wild. The gateway has few messages at once for it, one
/// more each few seconds, and a block that a loaded machine can't miss.
fn small_allowance() -> Layout {
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 3);
    layout.set_gateway("throttle", "every", "4s");
    layout.set_gateway("throttle", "block_above", 6);
    layout.set_gateway("throttle", "block_for", "45s");
    layout
}

fn help(from: &str, subject: &str) -> Draft {
    Draft::request(subject, "").with("From", from)
}

fn send(smtp: &mut Smtp, from: &str, draft: &Draft) {
    let accepted = smtp.send(from, &[GATEWAY], &draft.to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");
}

/// The blocked senders, by `senders list`.
fn blocked(site: &Site) -> Vec<Value> {
    let shown = site.layout.gateway(&["senders", "list", "--json"]);
    let senders: Vec<Value> = serde_json::from_str(&shown).expect("a JSON array");
    let is_blocked = |sender: &Value| sender["stage"] == "blocked";
    senders.into_iter().filter(is_blocked).collect()
}

fn notices(mails: &[Mail], code: &str) -> usize {
    let is_it = |mail: &&Mail| mail.result()[..2] == ["Notice", code];
    mails.iter().filter(is_it).count()
}

#[test]
fn a_flood_delays_nobody_else_and_its_sender_is_told_once() {
    let mut site = small_allowance().start();
    let mut smtp = site.smtp();
    let mut sent = 0;
    while blocked(&site).is_empty() {
        for _ in 0..5 {
            sent += 1;
            send(
                &mut smtp,
                ALICE,
                &help(ALICE, &format!("{{KMS:Help}} {sent}")),
            );
        }
        assert!(sent < 60, "no block after {sent} messages");
    }
    send(&mut smtp, ALICE, &help(ALICE, "{KMS:Help} ignored"));

    send(&mut smtp, BOB, &help(BOB, "{KMS:Help} of Bob"));
    let reply = site.mailbox(BOB).wait_for_reply("{KMS:Help} of Bob");
    assert_eq!(reply.result()[0], "Success");
    let before = blocked(&site);
    assert_eq!(before.len(), 1, "Bob waited for the end of Alice's block");

    let gateway = site.gateway.take().expect("it runs");
    assert!(gateway.stop().success());
    site.gateway = Some(site.layout.start_gateway());
    assert_eq!(blocked(&site), before, "what a restart leaves of a block");
    send(
        &mut site.smtp(),
        ALICE,
        &help(ALICE, "{KMS:Help} ignored too"),
    );

    let mailbox = site.mailbox(ALICE);
    let notice = mailbox.wait_for("the notice of the block", |mail| {
        mail.result()[..2] == ["Notice", "Blocked"]
    });
    let tripping = notice.header("In-Reply-To").expect("what led to it");
    until("the block's end", Duration::from_secs(120), || {
        blocked(&site).is_empty().then_some(())
    });
    mailbox.wait_for("the answer to what led to the block", |mail| {
        mail.header("In-Reply-To").as_deref() == Some(&tripping) && mail.result()[0] == "Success"
    });
    send(&mut site.smtp(), ALICE, &help(ALICE, "{KMS:Help} again"));
    mailbox.wait_for_reply("{KMS:Help} again");

    let mails = mailbox.mails();
    assert_eq!(notices(&mails, "Blocked"), 1);
    assert_eq!(notices(&mails, "Deferred"), 1);
    let ignored = |mail: &Mail| {
        mail.header("Subject")
            .is_some_and(|subject| subject.contains("ignored"))
    };
    assert!(!mails.iter().any(ignored), "an answer during the block");
}

#[test]
fn who_forges_a_vendors_address_does_not_delay_its_module() {
    let layout = Layout::new();
    let module = SoftwareModule::new(&layout, "SM1");
    let site = layout.start();
    let mut smtp = site.smtp();
    for number in 0..300 {
        let forged = help(ALICE, &format!("{{KMS:Help}} forged {number}"));
        send(&mut smtp, "mallory@attacker.example", &forged);
    }
    assert_eq!(blocked(&site).len(), 1);

    let public_key = site.layout.gateway(&["kmc", "public-key"]);
    let request = Draft::request("{KMS:GetKlfStsEd2} mine", &module.request(&public_key));
    let reply = site.ask(&request);
    assert_eq!(reply.result()[0], "Success");
    assert_eq!(module.open(&reply.attachment().2).len(), 2);
    assert_eq!(
        blocked(&site).len(),
        1,
        "the block was over before the answer"
    );
    assert_eq!(notices(&site.mailbox(ALICE).mails(), "Blocked"), 1);
}

#[test]
fn an_operator_ends_a_block() {
    let layout = small_allowance();
    layout.set_gateway("throttle", "every", "1h");
    layout.set_gateway("throttle", "block_for", "1h");
    let site = layout.start();
    let mut smtp = site.smtp();
    for number in 0..7 {
        send(
            &mut smtp,
            ALICE,
            &help(ALICE, &format!("{{KMS:Help}} {number}")),
        );
    }
    let senders = blocked(&site);
    let key = senders[0]["sender"].as_str().expect("a text");
    assert!(key.contains(ALICE), "{key}");
    let beginning = key.get(..key.len() - 3).expect("ASCII");
    let unblocked = site.layout.gateway(&["senders", "unblock", beginning]);
    assert_eq!(unblocked, format!("unblocked: {key}\n"));
    assert_eq!(blocked(&site), Vec::<Value>::new());
    let unknown = site.layout.try_gateway(&["senders", "unblock", "nobody"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");

    for number in 0..7 {
        let mailbox = site.mailbox(ALICE);
        let expected = format!("Auto: {{KMS:Help}} {number}");
        mailbox.wait_for(&expected, |mail| {
            mail.header("Subject").as_deref() == Some(&expected) && mail.result()[0] == "Success"
        });
    }
}
