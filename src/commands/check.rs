//! `check`: validates the configuration and shows the policy that it makes.

use std::{path::Path, process::Command};

use clap::Args;

use super::{
    CommandError, Ending,
    environment::{master_secret, policy_settings},
};
use crate::{
    config::Config,
    policy::{self, RuleName, Stage, lists},
};

/// Validate the configuration and print the policy table with its settings.
#[derive(Debug, Args)]
#[command(after_help = "\
Warns where a configured address is an alias in Postfix's own tables.

Example:
  kms-gateway --config gateway.toml check")]
pub(super) struct Arguments {}

pub(super) async fn run(path: &Path, _: &Arguments) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    master_secret(path, &config.secrets)?;
    println!("{}: valid", path.display());
    for address in &config.gateway.addresses {
        println!("gateway address: {}", address.0);
    }
    println!();
    print_policy(&config);
    let mut ending = Ending::Done;
    for warning in alias_warnings(&config) {
        println!("\nwarning: {warning}");
        ending = Ending::ProblemFound;
    }
    Ok(ending)
}

/// The table of rules, each with its patterns and the limits that it applies.
fn print_policy(config: &Config) {
    println!(
        "{:<16} {:<15} {:<8} {:<28} ignores, unless it says otherwise [setting]",
        "rule", "stage", "patterns", "source"
    );
    let settings = policy_settings(config);
    for rule in policy::RULES {
        let stage = match rule.stage() {
            Stage::Recipient => "RCPT",
            Stage::EndOfMessage => "end of message",
        };
        let patterns =
            patterns(rule.name).map_or_else(|| "-".to_owned(), |count| count.to_string());
        let limits: String = limits(rule.name, &settings)
            .iter()
            .map(|(key, value)| format!(" [{key} = {value}]"))
            .collect();
        println!(
            "{:<16} {stage:<15} {patterns:<8} {:<28} {}{limits}",
            rule.name, rule.source, rule.summary
        );
    }
}

/// How many entries the list has that a rule looks things up in.
fn patterns(rule: RuleName) -> Option<usize> {
    let lists = [
        (RuleName::ReturnPath, lists::SENDERS.len()),
        (RuleName::AutoSubmitted, lists::AUTO_SUBMITTED.len()),
        (RuleName::Precedence, lists::PRECEDENCE.len()),
        (RuleName::MailingList, lists::MAILING_LIST.len()),
        (RuleName::AutoResponder, lists::AUTO_RESPONDER.len()),
        (RuleName::Report, lists::REPORTS.len()),
        (RuleName::Subject, lists::SUBJECT_MARKS.len()),
        (RuleName::ReplyTarget, lists::SENDERS.len()),
    ];
    lists
        .into_iter()
        .find(|(name, _)| *name == rule)
        .map(|(_, count)| count)
}

/// The settings that a rule applies, by their keys in the configuration.
fn limits(rule: RuleName, settings: &policy::Settings) -> Vec<(&'static str, u64)> {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let limits = [
        (RuleName::Hops, "max_received", count(settings.max_received)),
        (
            RuleName::Malformed,
            "max_headers",
            count(settings.max_headers),
        ),
        (
            RuleName::Malformed,
            "max_header_bytes",
            count(settings.max_header_bytes),
        ),
        (
            RuleName::ReplyTarget,
            "max_targets",
            count(settings.max_targets),
        ),
        (
            RuleName::Size,
            "max_message_bytes",
            settings.max_message_bytes,
        ),
        (
            RuleName::Size,
            "max_unexpected_attachment_bytes",
            settings.max_unexpected_attachment_bytes,
        ),
    ];
    limits
        .into_iter()
        .filter(|(name, ..)| *name == rule)
        .map(|(_, key, value)| (key, value))
        .collect()
}

/// Postfix rewrites an alias before its transport map is asked, so that mail
/// that waited in the queue would go to the alias' target and not to the
/// gateway.
fn alias_warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for parameter in ["virtual_alias_maps", "alias_maps"] {
        let maps = postfix(&["postconf", "-h", parameter]).unwrap_or_default();
        for map in maps
            .split([',', ' ', '\t', '\n'])
            .filter(|map| map.contains(':'))
        {
            for address in &config.gateway.addresses {
                let key = match parameter {
                    "alias_maps" => address.0.local().to_owned(),
                    _ => address.0.to_string(),
                };
                if let Some(target) = postfix(&["postmap", "-q", &key, map]) {
                    warnings.push(format!(
                        "{} is an alias for {} in {parameter} ({map}); remove it there, or configure what people write in To",
                        address.0,
                        target.trim(),
                    ));
                }
            }
        }
    }
    warnings
}

/// What a Postfix command prints; none where it fails or there is no Postfix.
fn postfix(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
