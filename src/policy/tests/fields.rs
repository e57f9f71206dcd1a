//! The lists of header fields, entry by entry, made from the lists themselves:
//! that each matches what it is for, and not what only looks like it.

use super::Mail;
use crate::policy::RuleName;
use crate::policy::lists::{
    AUTO_RESPONDER, AUTO_SUBMITTED, FieldEntry, MAILING_LIST, PRECEDENCE, Role, Value,
};

const FIELD_LISTS: [(RuleName, &[FieldEntry]); 4] = [
    (RuleName("auto-submitted"), AUTO_SUBMITTED),
    (RuleName("precedence"), PRECEDENCE),
    (RuleName("mailing-list"), MAILING_LIST),
    (RuleName("auto-responder"), AUTO_RESPONDER),
];

pub(super) fn field_entries() -> impl Iterator<Item = (RuleName, &'static FieldEntry)> {
    FIELD_LISTS
        .iter()
        .flat_map(|&(rule, list)| list.iter().map(move |entry| (rule, entry)))
}

/// Values that an entry is for, as they come: odd case, comments, folds.
fn meant(value: Value) -> Vec<String> {
    let dressed = |words: &str| {
        vec![
            words.to_owned(),
            words.to_uppercase(),
            format!("(comment) {words}"),
            format!("{words} (no)"),
            format!("\n\t{words}"),
        ]
    };
    match value {
        Value::Present => [vec!["x".to_owned()], empty()].concat(),
        Value::Any => vec!["x".to_owned(), "no".to_owned(), "<>".to_owned()],
        Value::NotDenied => dressed("yes"),
        Value::OtherThan(_) => {
            let mut values = dressed("auto-generated");
            values.push(";".to_owned());
            values.push("none".to_owned());
            values
        }
        Value::Word(word) => {
            let mut values = dressed(word);
            values.push(format!("other, {word}"));
            values.push(format!("{word}; other"));
            values.push(format!("\"{word}\""));
            values
        }
        Value::Exactly(words) => dressed(&words.join(" ")),
        Value::Begins(words) => {
            let mut values = dressed(&words.join(" "));
            values.push(format!("{} and more", words.join(" ")));
            values
        }
        Value::FirstStarts(start) => vec![
            format!("<{start}17@desk.example>"),
            format!("<{}17@desk.example>", start.to_uppercase()),
            format!("(comment) {start}17"),
            format!("\n\t<{start}17@desk.example>"),
        ],
        Value::Address(Role::ListManager) => vec![
            "owner-vending@lists.example".to_owned(),
            "Vending <vending-request@lists.example>".to_owned(),
            "<Vending-Bounces@lists.example>".to_owned(),
        ],
        Value::Address(role) => panic!("no field of {role:?} is in a list"),
    }
}

/// Blanks and comments: values that say nothing.
fn empty() -> Vec<String> {
    [
        "",
        " \t",
        "(auto-replied)",
        "()\n\t(a (b) \\) c)",
        "(left open",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Values that only look like it.
fn not_meant(value: Value) -> Vec<String> {
    match value {
        Value::Present => vec![],
        Value::Any => empty(),
        Value::NotDenied => ["no", "No (comment)", "(yes) false", "0", "none"]
            .map(str::to_owned)
            .to_vec(),
        Value::OtherThan(word) => vec![
            word.to_owned(),
            word.to_uppercase(),
            format!("(auto-replied) {word}"),
            format!("{word}; auto-replied"),
        ],
        Value::Word(word) => vec![
            format!("{word}x"),
            format!("x{word}"),
            format!("{word}-not"),
            format!("other ({word})"),
            String::new(),
        ],
        Value::Exactly(words) => vec![
            format!("{} and more", words.join(" ")),
            format!("{}@vendor.example", words.join(" ")),
            String::new(),
        ],
        Value::Begins(words) => vec![
            format!("x {}", words.join(" ")),
            format!("{}x", words.join(" ")),
            format!("({})", words.join(" ")),
            String::new(),
        ],
        Value::FirstStarts(start) => vec![
            format!("<x{start}17@desk.example>"),
            format!("<{start}>"),
            format!("<17@{start}desk.example>"),
            format!("<17@desk.example> ({start}17)"),
        ],
        Value::Address(_) => vec![
            "jane@vendor.example".to_owned(),
            "\"owner-vending@lists.example\" <jane@vendor.example>".to_owned(),
            "jane@vendor.example (vending-request@lists.example)".to_owned(),
            "owner@vendor.example".to_owned(),
        ],
    }
}

#[test]
fn each_field_is_found_in_each_dress() {
    for (rule, entry) in field_entries() {
        for value in meant(entry.value) {
            for name in [entry.field.to_owned(), entry.field.to_uppercase()] {
                let reason = Mail::request().with(&name, &value).is_ignored_by(rule);
                assert!(reason.starts_with(entry.field), "{reason}");
            }
        }
    }
}

#[test]
fn a_field_that_only_looks_like_it_is_let_by() {
    for (_, entry) in field_entries() {
        let mail = Mail::request();
        for value in not_meant(entry.value) {
            mail.clone().with(entry.field, &value).is_answered();
        }
        for value in meant(entry.value) {
            let longer = format!("{}-X", entry.field);
            mail.clone().with(&longer, &value).is_answered();
            mail.clone()
                .with("X-Note", &format!("{}: {value}", entry.field))
                .is_answered();
        }
    }
}

#[test]
fn a_field_without_a_value_says_nothing() {
    let presence = |entry: &FieldEntry| matches!(entry.value, Value::Present);
    for (_, entry) in field_entries().filter(|(_, entry)| !presence(entry)) {
        for value in empty() {
            Mail::request().with(entry.field, &value).is_answered();
        }
    }
}

#[test]
fn a_field_that_occurs_twice_is_automatic_if_either_is() {
    for (rule, entry) in field_entries() {
        let Some(innocent) = not_meant(entry.value).into_iter().next() else {
            continue;
        };
        let automatic = meant(entry.value).remove(0);
        let mail = Mail::request();
        for (first, second) in [(&innocent, &automatic), (&automatic, &innocent)] {
            mail.clone()
                .with(entry.field, first)
                .with(entry.field, second)
                .is_ignored_by(rule);
        }
    }
}

/// Fields that people's own mail has, whatever they say.
#[test]
fn fields_of_honest_mail_are_let_by() {
    for (name, value) in [
        ("X-Auto-Response-Suppress", "All"),
        ("X-Auto-Response-Suppress", "DR, RN, NRN, OOF, AutoReply"),
        ("X-ExtLoop1", "1"),
        ("X-CFilter-Loop", "Reflected"),
        ("X-Loop", "jane@vendor.example"),
        ("X-Loop", "1"),
        ("X-Loop", "yes@vendor.example"),
        ("X-Autogenerated", "Mirror"),
        ("X-Autogenerated", "Redirect"),
        ("X-MailScanner", "Found to be clean"),
        ("X-MailScanner-Information", "Please contact the ISP"),
        ("X-FreeScout-Mail-Type", "customer.message"),
        ("X-CSA-Complaints", "csa-complaints@eco.de"),
        ("X-Mandrill-User", "md_30001234"),
        ("X-Mailin-EID", "MTIzNDU2fmphbmVAdmVuZG9yLmV4YW1wbGV"),
        ("X-PM-Message-Id", "0a1b2c3d"),
        ("X-ServerID", "7"),
        ("X-TMDA-Fingerprint", "SZL7V1rFmyW5bQ6W"),
        ("X-Delivery-Agent", "TMDA/1.1.12 (Macallan)"),
        ("X-MS-Exchange-Transport-Rules-Loop", "1"),
        ("X-MS-Exchange-Organization-AuthAs", "Internal"),
        ("X-MS-Has-Attach", ""),
        ("X-MS-TNEF-Correlator", ""),
        ("Feedback-ID", "1.eu-west-1.abc=:AmazonSES"),
        ("X-SES-Outgoing", "2026.06.04-54.240.27.7"),
        ("X-SG-EID", "abc"),
        ("X-Mailgun-Sid", "WyI0ZjRkNyJd"),
        (
            "X-Report-Abuse",
            "Please report abuse to abuse@vendor.example",
        ),
        ("Disposition-Notification-To", "jane@vendor.example"),
        ("Return-Receipt-To", "jane@vendor.example"),
        ("Precedence", "first-class"),
        ("Precedence", "special-delivery"),
        ("Precedence", "normal (bulk)"),
        ("Priority", "bulk"),
        ("X-Ack", "no"),
        ("X-Mailer", "Microsoft Outlook 16.0"),
        ("Delivered-To", "gateway@kms.example.org"),
        ("Delivered-To", "autoresponder@vendor.example"),
        ("Errors-To", "jane@vendor.example"),
        ("Sender", "secretary@vendor.example"),
        ("In-Reply-To", "<1@kms.example.org>"),
        ("References", "<1@kms.example.org>"),
        ("Content-Class", "urn:content-classes:message"),
        ("Thread-Topic", "Automatic reply"),
        ("X-Spam-Flag", "YES"),
        ("X-Received", "by 10.0.0.1"),
    ] {
        Mail::request().with(name, value).is_answered();
    }
}
