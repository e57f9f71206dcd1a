//! The table of rules as a whole: its order, and what `explain` makes of it.

use std::collections::HashSet;

use super::dnsbl::listed;
use super::rules::with_file;
use super::{GATEWAY, Mail};
use crate::policy::judgement::Ruling;
use crate::policy::{
    Finding, Judgement, Listener, Looked, RULES, RuleName, Stage, Verdict, explain,
};

/// A message that every rule but the first matches.
fn wrong_in_every_way() -> Mail {
    let mut mail = wrong_in_itself();
    mail.dnsbl = Some(listed());
    mail.settings.authentication.authserv_ids = vec!["mx.example.org".to_owned()];
    mail.with(
        "Authentication-Results",
        "mx.example.org; spf=fail; dkim=fail",
    )
}

/// One that every rule matches that looks at nothing but the message.
fn wrong_in_itself() -> Mail {
    let mut mail = with_file("Re: hello", "image/png", 100_000)
        .without("From")
        .returning_to("<>")
        .having("To", "someone@vendor.example")
        .with("X-Gateway-Result", "Success")
        .with("Auto-Submitted", "auto-replied")
        .with("Precedence", "bulk")
        .with("List-Id", "<x.lists.example>")
        .with("X-Autoreply", "yes")
        .having("Content-Type", "multipart/report; boundary=b");
    for _ in 0..40 {
        mail = mail.with("Received", "from x by y; z");
    }
    mail
}

#[test]
fn explain_tells_what_every_rule_found() {
    let results = wrong_in_every_way().look(explain);
    assert_eq!(results.len(), RULES.len());
    for (result, rule) in results.iter().zip(RULES) {
        assert_eq!(result.rule.name, rule.name);
        match rule.name {
            RuleName("not-for-gateway") => assert_eq!(result.looked, Looked::Clear),
            RuleName("dnsbl") => assert!(matches!(result.looked, Looked::Decides(_))),
            RuleName("blocked") | RuleName("flood") | RuleName("crowded") => {
                assert_eq!(result.looked, Looked::NotAsked)
            }
            name => assert!(
                matches!(result.looked, Looked::WouldMatch(_)),
                "{name}: {:?}",
                result.looked
            ),
        }
    }
}

#[test]
fn a_rule_gives_no_verdict_but_its_own() {
    for result in wrong_in_every_way().look(explain) {
        if let Looked::Decides(finding) | Looked::WouldMatch(finding) = result.looked {
            let rule = result.rule;
            assert!(rule.verdicts.contains(&finding.verdict), "{}", rule.name);
        }
    }
    let others = Mail {
        recipients: vec!["someone@vendor.example".to_owned()],
        ..Mail::request()
    };
    let passes = RULES.first().unwrap();
    assert_eq!(passes.verdicts, [others.judge().verdict()]);
}

#[test]
fn a_rule_shows_the_part_that_it_looks_at() {
    let mail = Mail::request();
    for (name, expected) in [
        ("not-for-gateway", "RCPT TO gateway@kms.example.org"),
        ("dnsbl", "192.0.2.9"),
        ("hops", "1 Received"),
        ("auto-submitted", "no Auto-Submitted"),
        ("not-in-to", "To: gateway@kms.example.org"),
        ("subject", "Subject: {KMS:Help} order-17"),
        ("reply-target", "From: Jane Dlamini <jane@vendor.example>"),
        ("sender-authentication", "no Authentication-Results"),
    ] {
        let rule = RULES.iter().find(|rule| rule.name.as_str() == name);
        assert_eq!(mail.look(|facts| rule.unwrap().looked_at(facts)), expected);
    }
    let flood = RULES.iter().find(|rule| rule.name == RuleName::FLOOD);
    let flood = flood.unwrap();
    assert_eq!(mail.look(|facts| flood.looked_at(facts)), flood.summary);
}

#[test]
fn explain_and_judge_agree() {
    for mail in [
        Mail::request(),
        wrong_in_every_way(),
        Mail::request().with("Precedence", "junk"),
    ] {
        let decided = mail
            .look(explain)
            .into_iter()
            .find_map(|result| match result.looked {
                Looked::Decides(finding) => Some(Ruling {
                    rule: result.rule.name,
                    finding,
                }),
                _ => None,
            });
        match mail.judge() {
            Judgement::Ruled(ruling) => assert_eq!(Some(ruling), decided),
            Judgement::Request(_) => assert_eq!(decided, None),
        }
    }
}

#[test]
fn explain_says_which_rules_do_not_look_at_the_internal_listener() {
    let mut mail = wrong_in_every_way();
    mail.listener = Listener::Internal;
    for result in mail.look(explain) {
        let looks_elsewhere = matches!(
            result.rule.name,
            RuleName("not-for-gateway")
                | RuleName("dnsbl")
                | RuleName("blocked")
                | RuleName("flood")
                | RuleName("crowded")
        );
        assert_eq!(
            result.looked == Looked::NotAsked,
            looks_elsewhere,
            "{}",
            result.rule.name
        );
    }
}

#[test]
fn nothing_is_rejected_by_the_internal_listener() {
    let finding = Finding {
        verdict: Verdict::Reject,
        reason: "listed".to_owned(),
    };
    for (listener, outcome) in [
        (Listener::Outer, Verdict::Reject),
        (Listener::Internal, Verdict::Ignore),
    ] {
        let ruling = Ruling::new(RuleName("not-for-gateway"), finding.clone(), listener);
        assert_eq!(ruling.finding.verdict, outcome);
    }
}

/// The order of the table decides: with the first rule's cause gone, the next one's counts.
#[test]
fn the_first_rule_that_matches_decides() {
    let mut mail = wrong_in_every_way();
    assert_eq!(mail.judge().rule(), Some(RuleName("dnsbl")));
    mail.dnsbl = None;
    mail.is_ignored_by(RuleName("return-path"));
    mail = mail.returning_to("<jane@vendor.example>");
    mail.is_ignored_by(RuleName("own-mail"));
    mail = mail.without("X-Gateway-Result");
    mail.is_ignored_by(RuleName("hops"));
    mail = mail.without("Received");
    mail.is_ignored_by(RuleName("malformed"));
    mail = mail.with("From", "noreply@vendor.example");
    mail.is_ignored_by(RuleName("auto-submitted"));
    mail = mail.without("Auto-Submitted");
    mail.is_ignored_by(RuleName("precedence"));
    mail = mail.without("Precedence");
    mail.is_ignored_by(RuleName("mailing-list"));
    mail = mail.without("List-Id");
    mail.is_ignored_by(RuleName("auto-responder"));
    mail = mail.without("X-Autoreply");
    mail.is_ignored_by(RuleName("report"));
    mail = mail.having("Content-Type", "multipart/mixed; boundary=b");
    mail.is_ignored_by(RuleName("not-in-to"));
    mail = mail.having("To", GATEWAY);
    mail.is_ignored_by(RuleName("subject"));
    mail = mail.having("Subject", "{KMS:Help}");
    mail.is_ignored_by(RuleName("reply-target"));
    mail = mail.having("From", "jane@vendor.example");
    mail.is_ignored_by(RuleName("size"));
    mail = mail.body("");
    mail.is_ignored_by(RuleName("sender-authentication"));
    mail.without("Authentication-Results").is_answered();
}

#[test]
fn the_table_is_as_the_design_has_it() {
    let names: Vec<_> = RULES.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "not-for-gateway",
            "dnsbl",
            "return-path",
            "own-mail",
            "hops",
            "malformed",
            "auto-submitted",
            "precedence",
            "mailing-list",
            "auto-responder",
            "report",
            "not-in-to",
            "subject",
            "reply-target",
            "size",
            "sender-authentication",
            "blocked",
            "flood",
            "crowded",
        ]
    );
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    for rule in RULES {
        assert!(
            !rule.source.is_empty() && !rule.summary.is_empty(),
            "{}",
            rule.name
        );
        let at_rcpt = matches!(rule.name, RuleName("not-for-gateway") | RuleName("dnsbl"));
        assert_eq!(rule.stage() == Stage::Recipient, at_rcpt, "{}", rule.name);
    }
}
