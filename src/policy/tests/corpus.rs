//! Judges the messages of `integration/corpus`: what real systems send, with
//! the verdict and the rule that each must get.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use crate::mail::{Client, Headers, Message, ReversePath};
use crate::policy::rule::Check;
use crate::policy::{
    Envelope, Facts, Judgement, Listener, RULES, Rule, RuleName, Settings, Verdict, judge,
};

use super::GATEWAY;

/// A row of the manifest.
struct Expectation {
    file: String,
    verdict: String,
    /// `-` where no rule decides.
    rule: String,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration/corpus")
}

fn manifest() -> Vec<Expectation> {
    let text = fs::read_to_string(directory().join("manifest.tsv")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [file, verdict, rule, note] if !note.is_empty() => Expectation {
                file: file.to_owned(),
                verdict: verdict.to_owned(),
                rule: rule.to_owned(),
            },
            _ => panic!("not a row of the manifest: {line:?}"),
        })
        .collect()
}

fn message(file: &str) -> Message {
    Message::from_bytes(&fs::read(directory().join(file)).unwrap())
}

fn judged(message: &Message) -> Judgement {
    let structure = message.structure();
    let reverse_path = ReversePath::of_delivered(&message.headers);
    let gateway = super::gateway();
    let recipients = [GATEWAY.parse().unwrap()];
    let mut settings = Settings::default();
    settings.authentication.authserv_ids = vec!["mx.kms.example.org".to_owned()];
    judge(&Facts {
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
        size: u64::try_from(message.to_bytes().len()).unwrap(),
        settings: &settings,
    })
}

fn rule_name(judgement: &Judgement) -> &'static str {
    judgement.rule().map_or("-", RuleName::as_str)
}

#[test]
fn every_message_gets_its_verdict_by_its_rule() {
    let mut wrong = Vec::new();
    for expected in manifest() {
        let judgement = judged(&message(&expected.file));
        let verdict = judgement.verdict().as_str();
        let rule = rule_name(&judgement);
        if (verdict, rule) != (expected.verdict.as_str(), expected.rule.as_str()) {
            let reason = judgement.reason().unwrap_or_default();
            wrong.push(format!(
                "{}: {verdict} by {rule} ({reason}), not {} by {}",
                expected.file, expected.verdict, expected.rule
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_manifest_lists_what_is_there() {
    let listed: Vec<_> = manifest().into_iter().map(|row| row.file).collect();
    let unique: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "a file is listed twice");
    let there: BTreeSet<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".eml"))
        .collect();
    assert_eq!(unique, there);
    assert!(there.len() >= 300, "{} messages", there.len());
}

/// Every rule that looks at a message has some, and the honest ones are many.
#[test]
fn the_corpus_covers_the_table() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in manifest() {
        *counts.entry(row.rule).or_default() += 1;
    }
    let of_messages = |rule: &&Rule| matches!(rule.check, Check::Message(_));
    for rule in RULES.iter().filter(of_messages) {
        assert!(
            counts.contains_key(rule.name.as_str()),
            "no message for {}",
            rule.name
        );
    }
    assert!(counts["-"] >= 100, "{} honest requests", counts["-"]);
}

/// Rules that recognise automatic mail. A good Subject and the gateway in To don't
/// change their verdict.
#[test]
fn no_subject_makes_an_automatic_message_a_request() {
    let by_sender = [
        RuleName("return-path"),
        RuleName("own-mail"),
        RuleName("auto-submitted"),
        RuleName("precedence"),
        RuleName("mailing-list"),
        RuleName("auto-responder"),
        RuleName("report"),
    ]
    .map(RuleName::as_str);
    for expected in manifest() {
        if !by_sender.contains(&expected.rule.as_str()) {
            continue;
        }
        let mut asking = message(&expected.file);
        let mut headers = Headers::new();
        for field in asking
            .headers
            .iter()
            .filter(|field| !field.is("Subject") && !field.is("To"))
        {
            headers.push(field.name().as_bytes(), field.value());
        }
        headers.push(b"To", GATEWAY.as_bytes());
        headers.push(b"Subject", b"{KMS:GetPublicKey}");
        asking.headers = headers;
        let judgement = judged(&asking);
        assert_eq!(judgement.verdict(), Verdict::Ignore, "{}", expected.file);
        assert_eq!(rule_name(&judgement), expected.rule, "{}", expected.file);
    }
}
