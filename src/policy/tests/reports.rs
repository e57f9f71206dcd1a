//! The list of content types, entry by entry, made from the list itself.

use super::Mail;
use crate::mail::{ContentType, Message};
use crate::policy::RuleName;
use crate::policy::lists::REPORTS;

fn content_type(value: &str) -> ContentType {
    let source = format!("Content-Type: {value}\n\nx");
    Message::from_bytes(source.as_bytes())
        .structure()
        .content_type
}

#[test]
fn each_report_is_known_whole_and_as_a_part() {
    for entry in REPORTS {
        let value = entry.to_string();
        for value in [
            value.clone(),
            value.to_uppercase(),
            format!("{value}; charset=utf-8"),
        ] {
            assert!(entry.matches(&content_type(&value)), "{value}");
            Mail::request()
                .with("Content-Type", &value)
                .is_ignored_by(RuleName("report"));
        }
        if entry.parameter.is_none() {
            for broken in [format!("{value} boundary=x"), format!(" (x) {value};;")] {
                Mail::request()
                    .with("Content-Type", "text/plain")
                    .with("Content-Type", &broken)
                    .is_ignored_by(RuleName("report"));
            }
        }
        if entry.media_type.0 != "multipart" {
            let body = format!("--b\n\ntext\n--b\nContent-Type: {value}\n\nx\n--b--\n");
            for kind in ["mixed", "alternative", "x-unknown"] {
                Mail::request()
                    .with("Content-Type", &format!("multipart/{kind}; boundary=b"))
                    .body(&body)
                    .is_ignored_by(RuleName("report"));
            }
        }
    }
}

#[test]
fn what_only_looks_like_a_report_is_let_by() {
    for entry in REPORTS {
        let (kind, subtype) = entry.media_type;
        for value in [
            format!("{kind}/{subtype}-x"),
            format!("{kind}/x-{subtype}"),
            format!("text/plain; note=\"{kind}/{subtype}\""),
            format!("text/plain; {kind}={subtype}"),
        ] {
            assert!(!entry.matches(&content_type(&value)), "{value}");
            Mail::request().with("Content-Type", &value).is_answered();
        }
    }
    for (name, value) in REPORTS.iter().filter_map(|entry| entry.parameter) {
        for value in [
            format!("text/calendar; {name}={value}x"),
            format!("text/calendar; x-{name}={value}"),
            format!("text/plain; {name}={value}"),
        ] {
            Mail::request().with("Content-Type", &value).is_answered();
        }
    }
    for value in [
        "text/calendar; method=REQUEST",
        "text/calendar",
        "multipart/signed; protocol=\"application/pgp-signature\"; boundary=b",
        "text/plain; report-type=delivery-status",
    ] {
        Mail::request().with("Content-Type", value).is_answered();
    }
}

/// A report that somebody attached whole is what the message is about, not what it is.
#[test]
fn a_report_inside_an_attached_message_is_let_by() {
    let body = "--b\n\nWhat is this?\n--b\nContent-Type: message/rfc822\n\n\
                Content-Type: message/delivery-status\n\nx\n--b--\n";
    Mail::request()
        .with("Content-Type", "multipart/mixed; boundary=b")
        .body(body)
        .is_answered();
}

/// Nobody sends a message on without a part for the text, even an empty one.
#[test]
fn nothing_but_other_messages_is_no_request() {
    let other = "--b\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n";
    let text = "--b\nContent-Type: text/plain\n\n\n";
    let mixed = |parts: &[&str]| {
        Mail::request()
            .with("Content-Type", "multipart/mixed; boundary=b")
            .body(&format!("{}--b--\n", parts.concat()))
    };
    for mail in [
        mixed(&[other]),
        mixed(&[other, other]),
        mixed(&[other, "--b\n\n"]),
        Mail::request()
            .with("Content-Type", "message/rfc822")
            .body("Subject: x\n\ny\n"),
        Mail::request()
            .with("Content-Type", "multipart/digest; boundary=b")
            .body("--b\n\nSubject: x\n\ny\n--b--\n"),
    ] {
        mail.is_ignored_by(RuleName("report"));
    }
    for mail in [
        mixed(&[text, other]),
        mixed(&[other, "--b\n\nhello\n"]),
        mixed(&[text, other, "--b\n\n"]),
        mixed(&["--b\n\n\n", other]),
        mixed(&["--b\nContent-Type: text/html\n\n<p>\n", other]),
    ] {
        mail.is_answered();
    }
}
