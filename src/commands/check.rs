//! `check`: validates the configuration and shows the policy that it makes.

use std::{path::Path, sync::Arc};

use clap::Args;
use jiff::Timestamp;

use super::{
    CommandError, Ending,
    clock::watched,
    environment::{existing_store, master_secret, sts_time},
    key_management,
    memory_limit::message_memory,
    milter_port::{self, postfix},
    reply_port::{self, Tried},
    standard_output::{write_line, write_lines},
};
use crate::{
    clock::SystemClock,
    config::Config,
    kms::{KmcKeys, KmsTables},
    policy::{self, Rule, RuleName, Stage, lists},
};

/// Validate the configuration and print the policy table with its settings.
#[derive(Debug, Args)]
#[command(after_help = "\
Warns where a configured address is an alias in Postfix's own tables, where others
than Postfix can reach the milter, when the last KMC key expires soon, where an
external key management system does not answer, and where Postfix's reply port
refuses replies: it is tried as far as a reply's recipient, the gateway's own
address. Notes, which are no fault, that every user of this machine can reach a
milter on loopback.

Example:
  kms-gateway --config gateway.toml check")]
pub(super) struct Arguments {}

pub(super) async fn run(path: &Path, _: &Arguments) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    master_secret(path, &config.secrets)?;
    write_lines(overview(path, &config))?;
    let mut warnings = alias_warnings(&config);
    warnings.extend(milter_port::warnings(&config));
    match key_management::try_remote(&config).await {
        Some(Ok(key)) => write_line(format_args!("its public key: {key}"))?,
        Some(Err(problem)) => warnings.push(problem),
        None => {}
    }
    match reply_port::try_port(&config).await {
        Tried::Said(what) => write_line(format_args!("reply port: {what}"))?,
        Tried::Warned(problem) => warnings.push(problem),
    }
    write_line("")?;
    write_lines(policy_table(&config))?;
    warnings.extend(key_warning(&config).await?);
    warnings.extend(clock_warning(&config).await?);
    write_lines(milter_port::note(&config).map(|note| format!("\nnote: {note}")))?;
    write_lines(
        warnings
            .iter()
            .map(|warning| format!("\nwarning: {warning}")),
    )?;
    Ok(match warnings.is_empty() {
        true => Ending::Done,
        false => Ending::ProblemFound,
    })
}

/// The configuration's main points.
fn overview(path: &Path, config: &Config) -> Vec<String> {
    let store = &config.store;
    let addresses = config.gateway.addresses.iter();
    let mut lines = vec![format!("{}: valid", path.display())];
    lines.extend(addresses.map(|address| format!("gateway address: {}", address.0)));
    lines.push(format!(
        "store: {} [max_requests = {}] [max_bytes = {}] [min_free_bytes = {}]",
        store.path.display(),
        store.max_requests,
        store.max_bytes,
        store.min_free_bytes
    ));
    lines.push(format!(
        "memory for messages: {} bytes [max_memory = {}]",
        message_memory(config),
        config.milter.max_memory
    ));
    lines.push(format!(
        "key management system: {}",
        key_management::description(config)
    ));
    lines
}

/// The table of rules, each with its patterns and the limits that it applies.
fn policy_table(config: &Config) -> Vec<String> {
    let names = format!(
        "{:<21} {:<15} {:<8} {:<40} ignores, unless it says otherwise [setting]",
        "rule", "stage", "patterns", "source"
    );
    let row = |rule: &Rule| {
        let stage = match rule.stage() {
            Stage::Recipient => "RCPT",
            Stage::EndOfMessage => "end of message",
        };
        let patterns =
            patterns(rule.name).map_or_else(|| "-".to_owned(), |count| count.to_string());
        let limits: String = limits(rule.name, config)
            .iter()
            .map(|(key, value)| format!(" [{key} = {value}]"))
            .collect();
        format!(
            "{:<21} {stage:<15} {patterns:<8} {:<40} {}{limits}",
            rule.name, rule.source, rule.summary
        )
    };
    [names]
        .into_iter()
        .chain(policy::RULES.iter().map(row))
        .collect()
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
fn limits(rule: RuleName, config: &Config) -> Vec<(&'static str, String)> {
    let policy = &config.policy;
    let dnsbl = &config.dnsbl;
    let authentication = &config.sender_authentication;
    let throttle = &config.throttle;
    let store = &config.store;
    match rule {
        RuleName::Dnsbl => vec![
            ("zones", list(dnsbl.zones.iter().map(|zone| &zone.site))),
            ("threshold", dnsbl.threshold.to_string()),
            ("time_limit", dnsbl.time_limit.to_string()),
            ("trusted_networks", list(&policy.trusted_networks)),
        ],
        RuleName::Hops => vec![("max_received", policy.max_received.to_string())],
        RuleName::Malformed => vec![
            ("max_headers", policy.max_headers.to_string()),
            ("max_header_bytes", policy.max_header_bytes.to_string()),
        ],
        RuleName::ReplyTarget => vec![("max_targets", config.reply.max_targets.to_string())],
        RuleName::Size => vec![
            ("max_message_bytes", policy.max_message_bytes.to_string()),
            (
                "max_unexpected_attachment_bytes",
                policy.max_unexpected_attachment_bytes.to_string(),
            ),
        ],
        RuleName::SenderAuthentication => vec![
            ("authserv_ids", list(&authentication.authserv_ids)),
            ("require", authentication.require.to_string()),
            ("trusted_networks", list(&policy.trusted_networks)),
        ],
        RuleName::Blocked => vec![
            ("block_above", throttle.block_above.to_string()),
            ("block_for", throttle.block_for.to_string()),
        ],
        RuleName::Flood => vec![
            ("at_once", throttle.at_once.to_string()),
            ("every", throttle.every.to_string()),
            ("network_factor", throttle.network_factor.to_string()),
            ("target_factor", throttle.target_factor.to_string()),
            ("newcomers_at_once", throttle.newcomers_at_once.to_string()),
            ("newcomers_every", throttle.newcomers_every.to_string()),
        ],
        RuleName::Crowded => vec![
            ("strangers_percent", store.strangers_percent.to_string()),
            ("newcomers_percent", store.newcomers_percent.to_string()),
            ("network_percent", store.network_percent.to_string()),
        ],
        _ => Vec::new(),
    }
}

fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(" "),
    }
}

/// Whether the clock is in doubt, beside what the store knows of it.
async fn clock_warning(config: &Config) -> Result<Option<String>, CommandError> {
    if !config.store.path.exists() {
        return Ok(None);
    }
    let store = existing_store(config, None).await?;
    let clock = watched(Arc::new(SystemClock), &store).await?;
    store.close().await;
    Ok(clock.doubt().map(|doubt| doubt.to_string()))
}

/// What is to be said of the KMC's keys. Before there is a store, nothing:
/// `check` comes before `kmc init`.
async fn key_warning(config: &Config) -> Result<Option<String>, CommandError> {
    let Some(warning) = key_management::key_warning(config) else {
        return Ok(None);
    };
    if !config.store.path.exists() {
        return Ok(None);
    }
    let store = existing_store(config, None).await?;
    let rows = store.kmc_keys().await?;
    store.close().await;
    let keys = KmcKeys::at(sts_time(Timestamp::now())?, &rows);
    let ending = keys.run_out(warning.as_signed());
    Ok(ending.map(|ending| ending.to_string()))
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
