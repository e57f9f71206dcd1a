//! Input that was made to hurt.

use proptest::prelude::*;

use super::{GATEWAY, Mail};
use crate::mail::{Client, Message, ReversePath};
use crate::policy::{
    Envelope, Facts, Limits, Listener, RuleName, Settings, Verdict, explain, judge,
};

/// Limits that no message reaches, so that every rule looks at everything.
fn unlimited() -> Settings {
    Settings {
        limits: Limits {
            max_headers: usize::MAX,
            max_header_bytes: usize::MAX,
            max_message_bytes: u64::MAX,
            ..Limits::default()
        },
        ..Settings::default()
    }
}

#[track_caller]
fn is_quick(mail: &Mail) {
    // Quadratic, this would go on for hours.
    let results = mail.look(explain);
    assert!(!results.is_empty());
}

fn large() -> Mail {
    Mail {
        settings: unlimited(),
        ..Mail::request()
    }
}

#[test]
fn a_hundred_thousand_fields() {
    let mut mail = large();
    for number in 0..100_000 {
        mail = mail.with(&format!("X-Field-{number}"), "value");
    }
    is_quick(&mail);
    assert_eq!(mail.judge().verdict(), Verdict::Request);
    mail.settings = Settings::default();
    mail.is_ignored_by(RuleName("malformed"));
}

#[test]
fn long_values_of_every_field_that_is_read() {
    for name in [
        "From",
        "Sender",
        "To",
        "Cc",
        "Reply-To",
        "Subject",
        "X-Loop",
        "Auto-Submitted",
        "Precedence",
        "Delivered-To",
        "Errors-To",
        "Content-Type",
        "X-Mailer",
    ] {
        for piece in [
            "(",
            ")",
            "\"",
            "\\",
            "<",
            ",",
            "a@b,",
            "=?utf-8?q?a?= ",
            "((a)",
            "[x]",
            " ",
            "re: ",
        ] {
            is_quick(&large().having(name, &piece.repeat(100_000 / piece.len())));
        }
    }
}

#[test]
fn five_thousand_recipients_in_to() {
    let others: Vec<_> = (0..5_000)
        .map(|number| format!("Person {number} <p{number}@vendor.example>"))
        .collect();
    let mail = large().having("To", &format!("{}, {GATEWAY}", others.join(",\n ")));
    is_quick(&mail);
    assert_eq!(mail.judge().verdict(), Verdict::Request);
}

#[test]
fn fifty_megabytes_of_body() {
    let mail = large().body(&"x".repeat(50_000_000));
    is_quick(&mail);
    Mail {
        settings: Settings::default(),
        ..mail
    }
    .is_ignored_by(RuleName("size"));
}

/// A sender's text reaches a reason only in a form that cannot hurt a log or a terminal.
#[test]
fn reasons_are_clean_and_bounded() {
    let nasty = "\u{1b}[2J\u{202e}\u{7}\u{85}\u{2028}".repeat(10_000);
    for mail in [
        Mail::request().having("Subject", &nasty),
        Mail::request().with("Precedence", &format!("bulk {nasty}")),
        Mail::request().with("X-Autoreply", &nasty),
        Mail::request().with("X-Loop", "gateway+\u{202e}x@kms.example.org"),
        Mail::request().with("Reply-To", &format!("\"{nasty}\" <owner-x@y.example>")),
        Mail::request().returning_to(&format!("<{nasty}>")),
    ] {
        let mail = Mail {
            settings: unlimited(),
            ..mail
        };
        let judgement = mail.judge();
        let reason = judgement.reason().unwrap();
        assert!(reason.chars().count() < 1_000, "{reason}");
        assert!(
            !reason
                .chars()
                .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')),
            "{reason}"
        );
    }
}

/// Names and values that rules look at, whole or in pieces.
fn field() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        "From|To|Cc|Sender|Reply-To|Subject|Received|X-Loop|Precedence|Auto-Submitted|List-Id|Content-Type|X-Gateway-Result|Delivered-To",
        "[!-9;-~]{1,20}",
    ];
    let value = prop_oneof![
        any::<String>(),
        r#"[ \t(),;:<>@"\\\[\]a-z{}=?KMS.+-]{0,80}"#,
        "(gateway@kms\\.example\\.org|<>|\\{KMS:Help\\}|multipart/mixed; boundary=b|\"|\\(|,){0,6}",
    ];
    (name, value)
}

proptest! {
    #[test]
    fn any_message_is_judged(bytes in prop::collection::vec(any::<u8>(), 0..2_000), path in any::<String>()) {
        let message = Message::from_bytes(&bytes);
        let structure = message.structure();
        let reverse_path = ReversePath::from_smtp(&path);
        let recipients = [GATEWAY.parse().unwrap()];
        let gateway = super::gateway();
        let settings = Settings::default();
        let facts = Facts {
            envelope: Envelope {
                listener: Listener::Outer,
                client: Client::default(),
                reverse_path: &reverse_path,
                recipients: &recipients,
                gateway: &gateway,
                dnsbl: None,
            },
            headers: &message.headers,
            structure: &structure,
            size: 0,
            settings: &settings,
        };
        let judgement = judge(&facts);
        prop_assert_ne!(judgement.verdict(), Verdict::Pass);
        prop_assert!(!explain(&facts).is_empty());
    }

    #[test]
    fn any_fields_are_judged(fields in prop::collection::vec(field(), 0..20), body in "(--b\n|Content-Type: [a-z]{1,9}/[a-z-]{1,9}\n|\n|x){0,20}") {
        let mut mail = Mail::request();
        for (name, value) in fields {
            mail = mail.with(&name, &value);
        }
        let judgement = mail.body(&body).judge();
        if let Some(reason) = judgement.reason() {
            prop_assert!(!reason.chars().any(char::is_control));
        }
        if let Some(asked) = judgement.asked() {
            prop_assert!(!asked.targets.answered.is_empty());
        }
    }

    /// Nothing that is added to an automatic message makes it a request.
    #[test]
    fn what_is_automatic_stays_so(fields in prop::collection::vec(field(), 0..10)) {
        let mut mail = Mail::request().with("Auto-Submitted", "auto-replied");
        for (name, value) in fields {
            mail = mail.with(&name, &value);
        }
        prop_assert_eq!(mail.judge().verdict(), Verdict::Ignore);
    }
}
