//! The lists of local parts, entry by entry, made from the lists themselves.

use super::Mail;
use crate::mail::Address;
use crate::policy::RuleName;
use crate::policy::lists::{
    Form, Piece, RELAYS, RelayEntry, RelayForm, Role, SENDERS, is_verp_to, role_of,
};

/// A local part that has the form.
pub(super) fn instance(form: Form) -> String {
    match form {
        Form::Is(name) => name.to_owned(),
        Form::Begins(start) => format!("{start}vending"),
        Form::BeginsTagged(start) => format!("{start}vending-1047"),
        Form::Ends(end) => format!("vending{end}"),
        Form::Contains(middle) => format!("vending{middle}a7"),
        Form::ContainsNumbered(middle) => format!("vending{middle}7-a"),
        Form::Says(words) => words.to_owned(),
    }
}

/// Other local parts that have it.
fn more(form: Form) -> Vec<String> {
    match form {
        Form::Is(name) => vec![format!("{name}+7")],
        Form::Begins(start) => vec![format!("{start}7"), format!("{start}{start}x")],
        Form::BeginsTagged(start) => {
            vec![
                format!("{start}jane=vendor.example"),
                format!("{start}a1b2c3"),
            ]
        }
        // Behind a `+` there can be no second extension.
        Form::Ends(end) if end.starts_with('+') => vec![format!("a.b{end}")],
        Form::Ends(end) => vec![format!("vending{end}+jane=vendor.example")],
        Form::Contains(middle) => vec![format!("a.b{middle}7")],
        Form::ContainsNumbered(middle) => vec![format!("a.b{middle}1047")],
        Form::Says(words) => {
            let (start, end) = words.split_at(2);
            vec![
                format!("{start}-{end}"),
                format!("{start}_{end}7"),
                format!("vending.{words}"),
                format!("{words}-17-vending"),
                format!("{words}+7"),
            ]
        }
    }
}

/// Local parts that only look like it.
fn lookalikes(form: Form) -> Vec<String> {
    match form {
        Form::Is(name) => vec![
            format!("{name}x"),
            format!("x{name}"),
            format!("jane.{name}"),
        ],
        Form::Begins(start) => vec![start.to_owned(), format!("x{start}vending")],
        Form::BeginsTagged(start) => vec![
            start.to_owned(),
            format!("{start}castles"),
            format!("{start}house-2"),
            format!("{start}7eleven"),
            format!("x{start}1047"),
        ],
        Form::Ends(end) => vec![
            end.to_owned(),
            format!("vending{end}x"),
            format!("jane+vending{end}x"),
        ],
        Form::Contains(middle) => vec![middle.to_owned(), format!("vending{middle}")],
        Form::ContainsNumbered(middle) => vec![middle.to_owned(), format!("vending{middle}a7")],
        Form::Says(words) => {
            let (start, end) = words.split_at(2);
            vec![
                format!("{words}ing"),
                format!("s{words}"),
                format!("{start}-x-{end}"),
                end.to_owned(),
                format!("{end}-{start}"),
            ]
        }
    }
}

#[test]
fn each_sender_is_known() {
    for entry in SENDERS {
        let local = instance(entry.form);
        let others = more(entry.form);
        for local in [local.to_uppercase(), local].into_iter().chain(others) {
            let found = role_of(&local).unwrap_or_else(|| panic!("{local} is not known"));
            assert_eq!(found.role, entry.role, "{local}");
            let address = Address::parse(&format!("{local}@other.example"))
                .unwrap_or_else(|_| Address::parse(&format!("\"{local}\"@other.example")).unwrap());
            match entry.role {
                Role::MailSystem | Role::ListManager => {
                    Mail::request()
                        .returning_to(&format!("<{address}>"))
                        .is_ignored_by(RuleName("return-path"));
                }
                Role::NoReply => {
                    let mail = Mail::request().returning_to(&format!("<{address}>"));
                    mail.is_answered();
                    mail.having("From", &address.to_string())
                        .is_ignored_by(RuleName("reply-target"));
                }
            }
        }
    }
}

#[test]
fn each_mail_system_is_known_in_from_and_sender_too() {
    for entry in SENDERS
        .iter()
        .filter(|entry| entry.role == Role::MailSystem)
    {
        let local = instance(entry.form);
        for from in [
            format!("Mail System <{local}@other.example>"),
            format!("{local}@other.example (Mail System)"),
            format!("Mail System <{local}>"),
            local.to_uppercase(),
        ] {
            Mail::request()
                .having("From", &from)
                .is_ignored_by(RuleName("return-path"));
            Mail::request()
                .with("Sender", &from)
                .is_ignored_by(RuleName("return-path"));
        }
        for from in [
            format!("\"{local}@other.example\" <jane@vendor.example>"),
            format!("jane@vendor.example ({local}@other.example)"),
        ] {
            Mail::request().having("From", &from).is_answered();
        }
    }
}

/// Bounces of old and broken gateways have no address in From, and some have
/// an ordinary path and Reply-To.
#[test]
fn each_mail_system_is_known_by_name_where_there_is_no_address() {
    for entry in SENDERS
        .iter()
        .filter(|entry| entry.role == Role::MailSystem)
    {
        let local = instance(entry.form);
        for from in [
            format!("{local} <>"),
            format!("\"{local}\" <>"),
            format!("=?utf-8?q?{}?= <>", local.replace('_', "=5F")),
            format!("{local} at other.example"),
            format!("{local}:;"),
            format!("\"The System <{local}@other.example>\""),
        ] {
            Mail::request()
                .having("From", &from)
                .with("Reply-To", "jane@vendor.example")
                .is_ignored_by(RuleName("return-path"));
        }
    }
    let answered = |from: &str| {
        Mail::request()
            .having("From", from)
            .with("Reply-To", "jane@vendor.example")
            .is_answered();
    };
    for from in ["Mailer Daemon <>", "Mail Delivery Subsystem <>"] {
        Mail::request()
            .having("From", from)
            .with("Reply-To", "jane@vendor.example")
            .is_ignored_by(RuleName("return-path"));
        answered(&from.replace("<>", "<jane@vendor.example>"));
    }
    answered("Jane <>");
    answered("Jane, the postmaster's friend <>");
    answered("Vending Mail System <>");
}

#[test]
fn what_only_looks_like_a_sender_is_let_by() {
    for entry in SENDERS {
        for local in lookalikes(entry.form) {
            let found = role_of(&local);
            let is_it = found.is_some_and(|found| found.form == entry.form);
            assert!(!is_it, "{local} is {found:?}");
            if found.is_none() && Address::parse(&format!("{local}@vendor.example")).is_ok() {
                Mail::request()
                    .returning_to(&format!("<{local}@vendor.example>"))
                    .having("From", &format!("{local}@vendor.example"))
                    .is_answered();
            }
        }
    }
}

#[test]
fn people_are_let_by() {
    for local in [
        "jane",
        "request",
        "requests",
        "requester",
        "owner",
        "bounce",
        "bounces",
        "bounce-castles",
        "bounce-house-2",
        "bounce-7eleven",
        "bounce.house",
        "info+bounces",
        "postmaster-tools",
        "subscribe",
        "order-confirm",
        "jane-confirm",
        "noreplyson",
        "bouncer",
        "list",
        "lists",
        "mailer",
        "daemon",
        "root",
        "admin",
        "nobody",
        "info",
        "vending",
        "reply",
        "jane+bounces",
        "jane+sts7",
        "return",
        "jane-return-ticket",
        "postmaster.general",
        "pm_bounces",
        "0100018f3c1e7a2b-6c1d4e5f-0000-4a4b-8c8d-1e2f3a4b5c6d-000000",
    ] {
        assert!(role_of(local).is_none(), "{local}");
        Mail::request()
            .returning_to(&format!("<{local}@vendor.example>"))
            .is_answered();
    }
}

#[test]
fn each_relay_is_seen_through() {
    for entry in RELAYS {
        let path = format!("<{}@relay.example>", entry.example);
        Mail::request().returning_to(&path).is_answered();
        let upper = entry.example.to_uppercase();
        Mail::request()
            .returning_to(&format!("<{upper}@relay.example>"))
            .is_answered();
        if !matches!(entry.form, RelayForm::Service(_)) {
            Mail::request()
                .returning_to(&format!("<{}@relay.example>", with_robot(entry)))
                .is_ignored_by(RuleName("return-path"));
        }
    }
    Mail::request()
        .returning_to("<SRS0=HH=TT=relay.example=prvs=0123=mailer-daemon@x.example>")
        .is_ignored_by(RuleName("return-path"));
}

/// The example with a mail system in place of its person.
fn with_robot(entry: &RelayEntry) -> String {
    let robot = entry.example.replace("jane", "mailer-daemon");
    assert_ne!(robot, entry.example, "{} carries no person", entry.source);
    robot
}

/// A form that lacks a field or a piece carries nobody: what it hides isn't
/// found, and what it looks like is what it is.
#[test]
fn a_spoilt_relay_is_not_seen_through() {
    for entry in RELAYS {
        for local in spoilt(entry) {
            let role = role_of(&local).map(|found| found.role);
            match entry.form {
                RelayForm::Service(_) => {
                    assert_eq!(role, Some(Role::ListManager), "{local}");
                    Mail::request()
                        .returning_to(&format!("<{local}@relay.example>"))
                        .is_ignored_by(RuleName("return-path"));
                }
                _ => assert_ne!(role, Some(Role::MailSystem), "{local}"),
            }
        }
    }
}

fn spoilt(entry: &RelayEntry) -> Vec<String> {
    match entry.form {
        RelayForm::Tags(mark, _)
        | RelayForm::Rewritten(mark, _)
        | RelayForm::Forwarded(mark, _) => {
            let robot = with_robot(entry).to_lowercase();
            let (before, rest) = robot.split_once(mark).unwrap();
            let (_, fewer) = rest.split_once('=').unwrap();
            vec![
                format!("{before}{mark}{fewer}"),
                format!("x{robot}").replace(mark, &mark.replace('=', "-")),
            ]
        }
        RelayForm::Appended(mark) => vec![with_robot(entry).split_off("mailer-daemon".len()), {
            let (_, next) = entry.example.split_once(mark).unwrap();
            format!("{mark}{next}")
        }],
        RelayForm::Service(pieces) => (0..pieces.len())
            .filter(|&at| !matches!(pieces[at], Piece::Text(_)))
            .map(|spoilt| {
                let piece = |at: usize| match (pieces[at], at == spoilt) {
                    (Piece::Text(text), _) => text,
                    (Piece::Hex, false) => "0a1b2c",
                    (Piece::Number, false) => "123456",
                    (Piece::Tag, false) => "ab",
                    (Piece::Recipient, false) => "gateway=kms.example.org",
                    (Piece::Hex, true) => "104x7",
                    (Piece::Number, true) => "12345",
                    (Piece::Tag, true) => "",
                    (Piece::Recipient, true) => "1047",
                };
                (0..pieces.len()).map(piece).collect()
            })
            .collect(),
    }
}

#[test]
fn what_only_looks_like_a_relay_is_a_list_managers() {
    for local in [
        "bounces+vending",
        "bounces+7-vending-jane=vendor.example",
        "bounce+gateway==a==kms.example.org==vending",
        "bounce+0a1b2c.zz-gateway=kms.example.org",
        "bounces-1047-gateway=kms.example.org",
        "bounce-md_30001234.6650e55c.v1-0a1b2c-gateway=kms.example.org",
        "bounces+SRS=44ldt=IX=7",
        "prvs=0123",
    ] {
        let mail = Mail::request().returning_to(&format!("<{local}@x.example>"));
        match local {
            "prvs=0123" => mail.is_answered(),
            _ => drop(mail.is_ignored_by(RuleName("return-path"))),
        }
    }
}

#[test]
fn a_path_with_the_recipient_in_it_is_a_list_managers() {
    let own = super::GATEWAY.parse().unwrap();
    for local in [
        "vending-7-gateway=kms.example.org",
        "news+Gateway=KMS.example.org",
        "m.7.gateway=kms.example.org",
    ] {
        assert!(is_verp_to(local, &own), "{local}");
        Mail::request()
            .returning_to(&format!("<{local}@lists.example>"))
            .is_ignored_by(RuleName("return-path"));
    }
    let mut extended = Mail::request().returning_to("<m-gateway+17=kms.example.org@lists.example>");
    extended.is_answered();
    extended.recipients = vec!["gateway+17@kms.example.org".to_owned()];
    extended.is_ignored_by(RuleName("return-path"));
    for local in [
        "gateway=kms.example.org",
        "xgateway=kms.example.org",
        "a-gateway=kms.example.com",
    ] {
        assert!(!is_verp_to(local, &own), "{local}");
    }
}
