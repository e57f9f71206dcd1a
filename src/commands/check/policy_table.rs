//! The policy table as `check` shows it: each rule with its settings.

use serde::{Serialize, Serializer};

use crate::{
    config::Config,
    policy::{self, Rule, Stage},
};

#[derive(Debug, Serialize)]
pub(super) struct Row {
    rule: &'static str,
    stage: &'static str,
    /// Number of entries in the list that the rule searches.
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
        patterns: rule.patterns,
        source: rule.source,
        summary: rule.summary,
        settings: rule
            .settings
            .iter()
            .map(|key| (without_section(key), config.text_of(key)))
            .collect(),
    }
}

fn without_section(key: &'static str) -> &'static str {
    key.rsplit_once('.').map_or(key, |(_, name)| name)
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
