//! The policy table as `check` shows it: each rule with its settings.

use serde::{Serialize, Serializer};

use crate::{
    config::Config,
    policy::{self, Rule, RuleName, Stage, lists},
};

/// A rule with what it reads.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    rule: &'static str,
    stage: &'static str,
    /// Number of entries in the list that the rule looks things up in.
    patterns: Option<usize>,
    source: &'static str,
    summary: &'static str,
    /// By their keys in the configuration, in the order in which they are shown.
    #[serde(serialize_with = "as_object")]
    settings: Vec<(&'static str, String)>,
}

fn as_object<S: Serializer>(
    settings: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(settings.iter().map(|(key, value)| (key, value)))
}

/// All rules, in the order in which they are asked.
pub(super) fn rows(config: &Config) -> Vec<Row> {
    policy::RULES.iter().map(|rule| row(rule, config)).collect()
}

fn row(rule: &Rule, config: &Config) -> Row {
    Row {
        rule: rule.name.as_str(),
        stage: match rule.stage() {
            Stage::Recipient => "RCPT",
            Stage::EndOfMessage => "end of message",
        },
        patterns: patterns(rule.name),
        source: rule.source,
        summary: rule.summary,
        settings: settings(rule.name, config),
    }
}

/// The rows as lines under the names of their columns.
pub(super) fn lines(rows: &[Row]) -> Vec<String> {
    let names = format!(
        "{:<21} {:<15} {:<8} {:<40} ignores, unless it says otherwise [setting]",
        "rule", "stage", "patterns", "source"
    );
    [names]
        .into_iter()
        .chain(rows.iter().map(Row::line))
        .collect()
}

impl Row {
    fn line(&self) -> String {
        let patterns = self
            .patterns
            .map_or_else(|| "-".to_owned(), |count| count.to_string());
        let settings = self.settings.iter();
        let settings: String = settings
            .map(|(key, value)| format!(" [{key} = {value}]"))
            .collect();
        format!(
            "{:<21} {:<15} {patterns:<8} {:<40} {}{settings}",
            self.rule, self.stage, self.source, self.summary
        )
    }
}

/// Number of entries in the list that a rule looks things up in.
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
fn settings(rule: RuleName, config: &Config) -> Vec<(&'static str, String)> {
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
