//! Floods (STS600-9-2 clause 4): a sender who asks too much waits, then is blocked,
//! and gets one notice each time. Nobody else notices.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    ALICE, BOB, Draft, GATEWAY, Layout, Mail, Module, Site, Smtp, SoftwareModule, until,
};

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

/// Waits for the answer itself: a notice has the same Subject.
fn wait_for_answer(site: &Site, subject: &str) {
    let expected = format!("Auto: {subject}");
    site.mailbox(ALICE).wait_for(&expected, |mail| {
        mail.header("Subject").as_deref() == Some(&expected) && mail.result()[0] == "Success"
    });
}

/// The ports of [`wired_internally`]: all mail for the gateway comes out of
/// Postfix's queue, with a filter before the queue or without one.
const WITHOUT_FILTER: u16 = 2526;
const WITH_FILTER: u16 = 2527;

/// A site whose public listeners have no milter. The filter is a second smtpd.
fn wired_internally() -> Layout {
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 104);
    layout.set_gateway("throttle", "every", "1s");
    layout.set_gateway("throttle", "block_above", 105);
    layout.set_gateway("throttle", "block_for", "1h");
    layout.allow_xclient();
    let (listener, filter) = (layout.port(WITH_FILTER), layout.port(WITHOUT_FILTER));
    layout.add_postfix_service(&format!(
        "{listener}/inet={listener} inet n - n - - smtpd \
         -o smtpd_milters= -o smtpd_proxy_filter={filter}"
    ));
    layout
}

/// By the internal wiring a sender was an address without a network.
#[test]
fn who_forges_a_vendors_address_does_not_block_it_by_the_internal_wiring() {
    for port in [WITHOUT_FILTER, WITH_FILTER] {
        let site = wired_internally().start();
        let mut forger = Smtp::connect(site.layout.port(port));
        forger.speak_for("ADDR=203.0.113.9");
        let mut sent = 0;
        while sent < 110 || blocked(&site).is_empty() {
            sent += 1;
            let forged = help(ALICE, &format!("{{KMS:Help}} forged {sent}"));
            // As a stranger may: below what Postfix writes it says nothing.
            let forged = forged.with(
                "Received",
                "from mail.vendor.example (mail.vendor.example [192.0.2.7])\r\n\
                 \tby mail.kms.example.org (Postfix) with ESMTP id F1",
            );
            send(&mut forger, "mallory@attacker.example", &forged);
            assert!(sent < 300, "no block after {sent} messages by {port}");
        }
        let senders = blocked(&site);
        let expected = format!("address {ALICE} from 203.0.113.0/24");
        assert_eq!(senders[0]["sender"], expected.as_str(), "by {port}");

        let mut vendor = Smtp::connect(site.layout.port(port));
        vendor.speak_for("ADDR=192.0.2.7");
        send(&mut vendor, ALICE, &help(ALICE, "{KMS:Help} mine"));
        wait_for_answer(&site, "{KMS:Help} mine");
        assert_eq!(blocked(&site), senders, "by {port}");
        let audited = site.layout.gateway(&["audit", "list", "--json"]);
        assert!(audited.contains("\"client\":\"192.0.2.7\""), "{audited}");
    }
}

/// A sender without a known network is put off, and never blocked.
#[test]
fn an_address_of_no_known_network_is_not_blocked() {
    let layout = wired_internally();
    layout.set_gateway("throttle", "at_once", 3);
    layout.set_gateway("throttle", "block_above", 6);
    let site = layout.start();
    let subjects: Vec<String> = (1..=9)
        .map(|number| format!("{{KMS:Help}} {number}"))
        .collect();
    // A program on the host is the client.
    let mut smtp = Smtp::connect(site.layout.port(WITHOUT_FILTER));
    for subject in &subjects {
        send(&mut smtp, ALICE, &help(ALICE, subject));
    }
    for subject in &subjects {
        wait_for_answer(&site, subject);
    }
    assert_eq!(blocked(&site), Vec::<Value>::new());
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
