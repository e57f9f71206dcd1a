//! Each rule, matched and not.

use super::{ALIAS, GATEWAY, Mail};
use crate::mail::{Address, Client, ReversePath, ServiceCode};
use crate::policy::{Envelope, Listener, RuleName, Verdict, judge_recipients};

#[test]
fn a_request_is_a_request() {
    let judgement = Mail::request().judge();
    let asked = judgement.asked().unwrap();
    assert_eq!(judgement.verdict(), Verdict::Request);
    assert_eq!((judgement.rule(), judgement.reason()), (None, None));
    assert_eq!(asked.service, ServiceCode::Help);
    assert_eq!(asked.gateway.to_string(), GATEWAY);
    let answered: Vec<_> = asked
        .targets
        .answered
        .iter()
        .map(Address::to_string)
        .collect();
    assert_eq!(answered, ["jane@vendor.example"]);
}

#[test]
fn mail_for_others_passes_at_the_outer_listener_alone() {
    let mut mail = Mail::request();
    mail.recipients = vec!["someone@kms.example.org".to_owned()];
    assert_eq!(mail.judge().rule(), Some(RuleName("not-for-gateway")));
    assert_eq!(mail.judge().verdict(), Verdict::Pass);
    mail.recipients.push(GATEWAY.to_owned());
    mail.is_answered();
    mail.recipients = vec![];
    assert_eq!(mail.judge().verdict(), Verdict::Pass);
    mail.listener = Listener::Internal;
    mail.is_answered();
}

#[test]
fn recipients_are_judged_at_rcpt() {
    let reverse_path = ReversePath::Null;
    let gateway = super::gateway();
    let judge = |listener, recipients: &[Address]| {
        judge_recipients(&Envelope {
            listener,
            client: Client::default(),
            reverse_path: &reverse_path,
            recipients,
            gateway: &gateway,
            dnsbl: None,
        })
    };
    let other = [Address::parse("someone@kms.example.org").unwrap()];
    let judgement = judge(Listener::Outer, &other).unwrap();
    assert_eq!(judgement.verdict(), Verdict::Pass);
    assert_eq!(judge(Listener::Internal, &other), None);
    for own in [GATEWAY, ALIAS, "GATEWAY+x@KMS.example.org."] {
        assert_eq!(
            judge(Listener::Outer, &[own.parse().unwrap()]),
            None,
            "{own}"
        );
    }
}

#[test]
fn return_path() {
    for path in [
        "<>",
        "",
        "<MAILER-DAEMON>",
        "<null>",
        "<jane>",
        "<jane@>",
        "<@vendor.example>",
        "<jane@vendor..example>",
        "<jane@-vendor.example>",
        "<jane@vendor.example-.example>",
        "<jane@ven dor.example>",
        "<jane@10.0.0.1>",
        "<jane@vendor.123>",
        "<jane dlamini@vendor.example>",
        "<.jane@vendor.example>",
        "<jane@vendor.example>extra",
        "<#@[]>",
    ] {
        Mail::request()
            .returning_to(path)
            .is_ignored_by(RuleName("return-path"));
    }
    for path in [
        "<jane@vendor.example>",
        "jane@vendor.example",
        "<jane@[10.0.0.1]>",
        "<jane@localhost>",
        "<\"jane dlamini\"@vendor.example>",
        "<jane@1and1.example>",
        "<jane@v3nd0r.123.example>",
        "<jane@münchen.example>",
        "<@relay.example:jane@vendor.example>",
    ] {
        Mail::request().returning_to(path).is_answered();
    }
}

#[test]
fn reasons_of_return_path_say_what_the_sender_is() {
    let reason = |path| {
        Mail::request()
            .returning_to(path)
            .is_ignored_by(RuleName("return-path"))
    };
    assert_eq!(reason("<>"), "the reverse path is null");
    assert_eq!(reason("<jane>"), "the reverse path \"<jane>\" is invalid");
    assert_eq!(
        reason("<MAILER-DAEMON>"),
        "the reverse path \"<MAILER-DAEMON>\" is a mail system's"
    );
    assert_eq!(
        reason("<owner-vending@lists.example>"),
        "the reverse path \"owner-vending@lists.example\" is a list manager's"
    );
    let reason = Mail::request()
        .having("From", "Mail Delivery Subsystem <MAILER-DAEMON>")
        .is_ignored_by(RuleName("return-path"));
    assert_eq!(
        reason,
        "From \"Mail Delivery Subsystem <MAILER-DAEMON>\" is a mail system's"
    );
}

#[test]
fn own_mail() {
    for mail in [
        Mail::request().returning_to("<gateway@kms.example.org>"),
        Mail::request().returning_to("<Gateway+17@KMS.example.org>"),
        Mail::request().having("From", "KMS <kmc@keys.example.org>"),
        Mail::request().having("From", "jane@vendor.example, GATEWAY@kms.example.org."),
        Mail::request().with("Sender", "KMS <gateway@kms.example.org>"),
        Mail::request().with("X-Loop", GATEWAY),
        Mail::request()
            .with("X-Loop", "other@lists.example")
            .with("X-Loop", "<kmc@keys.example.org> (KMS)"),
        Mail::request().with("X-Gateway-Result", "Success\tdone"),
        Mail::request().with("x-gateway-result", ""),
    ] {
        mail.is_ignored_by(RuleName("own-mail"));
    }
    for mail in [
        Mail::request().having("From", "\"gateway@kms.example.org\" <jane@vendor.example>"),
        Mail::request().with("X-Loop", "gateway@other.example"),
        Mail::request().with("X-Loop", "(gateway@kms.example.org)"),
        Mail::request().with("X-Gateway", "x"),
        Mail::request().with("Reply-To", "jane@vendor.example, gateway@kms.example.org"),
    ] {
        mail.is_answered();
    }
}

#[test]
fn hops() {
    let hopped = |hops: usize| {
        (1..hops).fold(Mail::request(), |mail, _| {
            mail.with("Received", "from x by y; z")
        })
    };
    let limit = hopped(1).settings.limits.max_received;
    hopped(limit).is_answered();
    let reason = hopped(limit + 1).is_ignored_by(RuleName("hops"));
    assert_eq!(reason, "31 Received fields, the limit is 30");
    let mut internal = hopped(limit + 1);
    internal.listener = Listener::Internal;
    internal.is_answered();
    internal
        .with("Received", "from x by y; z")
        .is_ignored_by(RuleName("hops"));
}

#[test]
fn malformed() {
    for mail in [
        Mail::request().with("From", "eve@other.example"),
        Mail::request().with("from", "jane@vendor.example"),
        Mail::request().with("Subject", "{KMS:GetPublicKey}"),
        Mail::request().without("From"),
    ] {
        mail.is_ignored_by(RuleName("malformed"));
    }
    let mut small = Mail::request();
    small.settings.limits.max_headers = small.fields.len();
    small.is_answered();
    small
        .clone()
        .with("X-One", "more")
        .is_ignored_by(RuleName("malformed"));
    let mut small = Mail::request();
    small.settings.limits.max_header_bytes = 1_000;
    small.is_answered();
    small
        .with("X-Long", &"x".repeat(1_000))
        .is_ignored_by(RuleName("malformed"));
    Mail::request()
        .without("From")
        .with("Sender", "jane@vendor.example")
        .is_answered();
    Mail::request()
        .with("To", "other@vendor.example")
        .with("Cc", "x@y.example")
        .is_answered();
}

#[test]
fn not_in_to() {
    for to in [
        "jane@vendor.example",
        "\"gateway@kms.example.org\" <jane@vendor.example>",
        "gateway@kms.example.org <jane@vendor.example>",
        "jane@vendor.example (gateway@kms.example.org)",
        "=?utf-8?q?gateway=40kms=2Eexample=2Eorg?= <jane@vendor.example>",
        "undisclosed-recipients:;",
        "gateway@kms.example.org.evil.example",
        "gateway@kms.example.com",
        "xgateway@kms.example.org",
        "gateway@kms.example.org@evil.example",
        "",
    ] {
        Mail::request()
            .having("To", to)
            .is_ignored_by(RuleName("not-in-to"));
    }
    for to in [
        "GATEWAY@KMS.EXAMPLE.ORG",
        "<gateway@kms.example.org.>",
        "\"gateway\"@kms.example.org",
        "gateway+order-17@kms.example.org",
        "KMS: jane@vendor.example, gateway@kms.example.org;",
        "=?utf-8?b?S01D?= <gateway@kms.example.org>",
        "(the KMC) gateway (gw) @ kms.example.org",
        "jane@vendor.example,\n\t\"KMC, the\" <kmc@keys.example.org>",
    ] {
        Mail::request().having("To", to).is_answered();
    }
    Mail::request()
        .having("To", "jane@vendor.example")
        .with("To", GATEWAY)
        .is_answered();
    Mail::request().with("Cc", GATEWAY).is_answered();
    let reason = Mail::request()
        .having("To", "jane@vendor.example")
        .with("Cc", "KMS <gateway@kms.example.org>")
        .is_ignored_by(RuleName("not-in-to"));
    assert_eq!(reason, "the gateway is in Cc and not in To");
    let reason = Mail::request()
        .without("To")
        .is_ignored_by(RuleName("not-in-to"));
    assert_eq!(reason, "the gateway is not in To");
}

#[test]
fn the_gateway_address_is_the_one_that_to_names() {
    for (to, named) in [
        ("kmc@keys.example.org", ALIAS),
        (
            "x@y.example, KMC+1@keys.example.org, gateway@kms.example.org",
            ALIAS,
        ),
        ("gateway@kms.example.org, kmc@keys.example.org", GATEWAY),
    ] {
        let judgement = Mail::request().having("To", to).judge();
        assert_eq!(
            judgement.asked().unwrap().gateway.to_string(),
            named,
            "{to}"
        );
    }
}

#[test]
fn subject() {
    for (subject, reason) in [
        (
            "hello",
            "the Subject \"hello\" does not begin with a service code",
        ),
        ("", "the Subject \"\" does not begin with a service code"),
        (
            "{KMS:Help",
            "the service code in the Subject \"{KMS:Help\" is malformed",
        ),
        (
            "{KMS:}",
            "the service code in the Subject \"{KMS:}\" is malformed",
        ),
        (
            "RE: {KMS:Help}",
            "the Subject \"RE: {KMS:Help}\" is that of a reply (English and, by RFC 5322 3.6.5, any language)",
        ),
        (
            "Auto: {KMS:Help}",
            "the Subject \"Auto: {KMS:Help}\" is that of an automatic answer (STS600-9-2 8.3.1, our own replies; Notes)",
        ),
        (
            "=?utf-8?q?Re=3A?= {KMS:Help}",
            "the Subject \"Re: {KMS:Help}\" is that of a reply (English and, by RFC 5322 3.6.5, any language)",
        ),
    ] {
        assert_eq!(
            Mail::request()
                .having("Subject", subject)
                .is_ignored_by(RuleName("subject")),
            reason
        );
    }
    let reason = Mail::request()
        .without("Subject")
        .is_ignored_by(RuleName("subject"));
    assert_eq!(reason, "there is no Subject");
    for (subject, service) in [
        ("{KMS:Help}", ServiceCode::Help),
        ("  {kms:getpublickey}x", ServiceCode::GetPublicKey),
        ("=?utf-8?q?=7BKMS=3AHelp=7D_caf=C3=A9?=", ServiceCode::Help),
        ("\n {KMS:GetKlfStsEd2} Re: 17", ServiceCode::GetKlfStsEd2),
        (
            "{KMS:Nonsense}",
            ServiceCode::Unknown("{KMS:Nonsense}".to_owned()),
        ),
    ] {
        let judgement = Mail::request().having("Subject", subject).judge();
        assert_eq!(judgement.asked().unwrap().service, service, "{subject}");
    }
}

#[test]
fn reply_target() {
    for mail in [
        Mail::request().having("From", "Jane"),
        Mail::request().having("From", "<>"),
        Mail::request().with("Reply-To", GATEWAY),
        Mail::request().with(
            "Reply-To",
            "owner-vending@lists.example, vending-request@lists.example",
        ),
        Mail::request().with("Reply-To", "noreply@vendor.example, listserv@lists.example"),
        Mail::request().having("From", "Vending <No-Reply@vendor.example>"),
    ] {
        mail.is_ignored_by(RuleName("reply-target"));
    }
    for mail in [
        Mail::request()
            .having("From", "noreply@vendor.example")
            .with("Reply-To", "jane@vendor.example"),
        Mail::request().with("Reply-To", ""),
        Mail::request()
            .having("From", "<>")
            .with("Sender", "jane@vendor.example"),
    ] {
        mail.is_answered();
    }
}

/// In a mixed list the people are answered, and a robot does not take a person's
/// place.
#[test]
fn robots_are_left_out_of_a_mixed_list() {
    let list = "noreply@v.example, Postmaster@v.example, list+bounces-7@v.example, \
                owner-l@v.example, l-request@v.example, jane@v.example";
    let mut mail = Mail::request().with("Reply-To", list);
    mail.settings.max_targets = 1;
    let judgement = mail.judge();
    let targets = &judgement.asked().unwrap().targets;
    let answered: Vec<_> = targets.answered.iter().map(Address::to_string).collect();
    assert_eq!(answered, ["jane@v.example"]);
    assert_eq!(targets.left_out.len(), 5);
}

#[test]
fn no_more_targets_than_the_limit() {
    let many: Vec<_> = (0..9)
        .map(|number| format!("jane{number}@vendor.example"))
        .collect();
    let judgement = Mail::request().with("Reply-To", &many.join(", ")).judge();
    let targets = &judgement.asked().unwrap().targets;
    assert_eq!((targets.answered.len(), targets.left_out.len()), (5, 4));
}

/// A message with a file of that type and size.
pub(super) fn with_file(subject: &str, media_type: &str, octets: usize) -> Mail {
    let file = "x".repeat(octets);
    Mail::request()
        .having("Subject", subject)
        .with("Content-Type", "multipart/mixed; boundary=b")
        .body(&format!(
            "--b\n\ntext\n--b\nContent-Type: {media_type}\nContent-Disposition: attachment\n\n{file}\n--b--\n"
        ))
}

#[test]
fn size() {
    let limit = usize::try_from(
        Mail::request()
            .settings
            .limits
            .max_unexpected_attachment_bytes,
    )
    .unwrap();
    with_file("{KMS:Help}", "image/png", limit).is_answered();
    let reason = with_file("{KMS:Help}", "image/png", limit + 1).is_ignored_by(RuleName("size"));
    assert_eq!(
        reason,
        "65537 octets of attachments that the service does not expect, the limit is 65536"
    );
    with_file("{KMS:GetKlfStsEd2}", "text/plain", limit + 1).is_ignored_by(RuleName("size"));
    with_file("{KMS:SmUpdateStsEd2}", "text/plain", limit + 1).is_answered();
    with_file("{KMS:SmUpdateStsEd2}", "application/zip", limit + 1).is_ignored_by(RuleName("size"));
    let mut large = Mail::request();
    large.settings.limits.max_message_bytes = 2_000;
    large.is_answered();
    large
        .body(&"x".repeat(2_000))
        .is_ignored_by(RuleName("size"));
    Mail::request().body(&"x\n".repeat(limit)).is_answered();
}

#[test]
fn one_expected_file_is_expected_and_no_other() {
    let octets = usize::try_from(
        Mail::request()
            .settings
            .limits
            .max_unexpected_attachment_bytes,
    )
    .unwrap();
    let file = format!(
        "--b\nContent-Type: text/plain\nContent-Disposition: attachment\n\n{}\n",
        "x".repeat(octets + 1)
    );
    let mail = |files: usize| {
        Mail::request()
            .having("Subject", "{KMS:SmUpdateStsEd2}")
            .with("Content-Type", "multipart/mixed; boundary=b")
            .body(&format!("{}--b--\n", file.repeat(files)))
    };
    mail(1).is_answered();
    mail(2).is_ignored_by(RuleName("size"));
}
