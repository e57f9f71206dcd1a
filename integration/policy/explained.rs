//! `explain` says of a message file what the gateway does with the message when
//! it comes through Postfix, whatever Postfix makes of its header.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{ALICE, Draft, GATEWAY, Layout, Site, kms_gateway, run, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// The finding of `explain`: the rule, or the verdict if no rule decides.
fn explained(layout: &Layout, arguments: &[&str], message: &[u8]) -> String {
    let arguments = [&["explain", "--json"], arguments, &["-"]].concat();
    let json = run(&mut kms_gateway(&layout.config(), &arguments), message);
    let object: Value = serde_json::from_str(&json).expect("an object");
    let word = |field: &str| object.get(field)?.as_str().map(str::to_owned);
    word("rule").or(word("verdict")).expect("a verdict")
}

/// The verdict of the running gateway.
fn judged(site: &Site, message: &[u8]) -> String {
    let gateway = site.gateway.as_ref().expect("it runs");
    let before = gateway.rules().len();
    let taken = site.smtp().send(ALICE, &[GATEWAY], message);
    assert_eq!(taken.code, 250, "{taken:?}");
    until("it is judged", PATIENCE, || {
        gateway.rules().get(before).cloned()
    })
}

/// A request whose header has `lines` at its start.
fn beginning(lines: &str) -> Vec<u8> {
    let request = Draft::request("{KMS:Help}", "please\n").to_bytes();
    [lines.as_bytes(), &request].concat()
}

/// A request with these lines in the place of its Subject's.
fn with_subject(lines: &str) -> Vec<u8> {
    let request = Draft::request("{KMS:Help}", "please\n").to_bytes();
    let request = String::from_utf8(request).expect("ASCII");
    request.replace("Subject: {KMS:Help}", lines).into_bytes()
}

/// A request to a crowd of so many octets, the gateway last.
fn to_a_crowd(octets: usize, fold: &str) -> Vec<u8> {
    let crowd = format!("someone@vendor.example,{fold}");
    let crowd = crowd.repeat(octets / crowd.len());
    let to = format!("{crowd} {GATEWAY}");
    let request = Draft::request("{KMS:Help}", "please\n");
    request.with("To", &to).to_bytes()
}

#[test]
fn postfix_and_explain_read_a_header_alike() {
    let site = Layout::new().start();
    for (message, rule) in [
        (beginning(""), "request"),
        (beginning(">From alice Tue 12:00\r\n"), "request"),
        (beginning(">>From alice\r\n>From bob\r\n"), "request"),
        (beginning(">From alice\r\n folded\r\n"), "malformed"),
        (beginning("no field\r\n"), "malformed"),
        (beginning("Two words: x\r\n"), "malformed"),
        (beginning(" folded\r\n"), "malformed"),
        (beginning("Gr\u{fc}n: x\r\n"), "malformed"),
        (beginning("X\0: x\r\n"), "malformed"),
        (beginning("X: y\r\n \t\r\n"), "request"),
        (with_subject("Subject\r\n : {KMS:Help}"), "subject"),
        (with_subject("Subject \t: {KMS:Help}"), "request"),
        (with_subject("Subject: {KMS:Help}\r X: y"), "request"),
        (with_subject("Subject: {KMS\rHelp}"), "subject"),
        (with_subject("Subject: {KMS:Help} \0 and more"), "request"),
        (with_subject("Subject: {KMS:\0Help}"), "subject"),
        (with_subject("Subject:\r\n {KMS:Help}"), "request"),
        (to_a_crowd(59_000, "\r\n "), "request"),
        (to_a_crowd(63_000, "\r\n "), "not-in-to"),
        (to_a_crowd(61_000, ""), "not-in-to"),
        (to_a_crowd(110_000, "\r\n "), "not-in-to"),
    ] {
        let shown = String::from_utf8_lossy(message.get(..60).unwrap_or_default()).into_owned();
        let by_postfix = judged(&site, &message);
        let by_explain = explained(&site.layout, &["--mail-from", ALICE], &message);
        assert_eq!(by_postfix, by_explain, "{shown:?}");
        assert_eq!(by_postfix, rule, "{shown:?}");
    }
}

#[test]
fn an_address_may_begin_with_a_hyphen() {
    let layout = Layout::without_keys();
    let request = beginning("");
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    for (arguments, rule) in [
        ("--mail-from -alice@vendor.example", "request"),
        ("--mail-from=-alice@vendor.example", "request"),
        ("--mail-from <>", "return-path"),
        ("--rcpt-to -bob@vendor.example", "not-for-gateway"),
    ] {
        let shown = explained(&layout, &words(arguments), &request);
        assert_eq!(shown, rule, "{arguments}");
    }
}
