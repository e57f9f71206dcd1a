//! The findings of `check` in two forms: text for people, JSON for scripts.

use std::path::Path;

use serde::Serialize;

use super::policy_table::{self, Row};

#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// The file of the configuration.
    configuration: String,
    facts: Vec<Fact>,
    rules: Vec<Row>,
    notes: Vec<String>,
    warnings: Vec<String>,
    problems: Vec<String>,
}

/// Something that is in use and no fault.
#[derive(Debug, Serialize)]
struct Fact {
    name: &'static str,
    text: String,
}

impl Report {
    pub(super) fn new(path: &Path, rules: Vec<Row>) -> Self {
        Self {
            configuration: path.display().to_string(),
            rules,
            ..Self::default()
        }
    }

    /// Adds a fact: a name such as `store`, and which store it is.
    pub(super) fn fact(&mut self, name: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.facts.push(Fact { name, text });
    }

    /// Adds things that an operator may want to know, and that are no fault.
    pub(super) fn note(&mut self, text: impl IntoIterator<Item = String>) {
        self.notes.extend(text);
    }

    /// Adds things that an operator should mend.
    pub(super) fn warn(&mut self, text: impl IntoIterator<Item = String>) {
        self.warnings.extend(text);
    }

    /// Adds things that keep `serve` from starting.
    pub(super) fn refuse(&mut self, text: impl IntoIterator<Item = String>) {
        self.problems.extend(text);
    }

    /// Whether there is nothing to mend.
    pub(super) fn is_well(&self) -> bool {
        self.warnings.is_empty() && self.problems.is_empty()
    }

    fn verdict(&self) -> String {
        let configuration = &self.configuration;
        match self.problems.is_empty() {
            true => format!("{configuration}: valid"),
            false => format!(
                "{configuration}: readable, but serve would not start; see the problems below"
            ),
        }
    }

    /// The report for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let facts = self.facts.iter();
        let facts = facts.map(|fact| format!("{}: {}", fact.name, fact.text));
        let notes = self.notes.iter().map(|note| format!("\nnote: {note}"));
        let warnings = self.warnings.iter();
        let warnings = warnings.map(|warning| format!("\nwarning: {warning}"));
        let problems = self.problems.iter();
        let problems = problems.map(|problem| format!("\nproblem: {problem}"));
        [self.verdict()]
            .into_iter()
            .chain(facts)
            .chain([String::new()])
            .chain(policy_table::lines(&self.rules))
            .chain(notes)
            .chain(warnings)
            .chain(problems)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let mut report = Report::new(Path::new("/etc/gateway.toml"), Vec::new());
        report.fact("store", "/var/lib/queue.sqlite3");
        report.note(["everybody can reach it".to_owned()]);
        report.warn(["the key ends".to_owned(), "the port is closed".to_owned()]);
        report
    }

    #[test]
    fn both_forms_say_the_same() {
        let lines = report().lines();
        let facts = ["/etc/gateway.toml: valid", "store: /var/lib/queue.sqlite3"];
        assert_eq!(lines.get(..2).unwrap(), facts);
        let endings = [
            "\nnote: everybody can reach it",
            "\nwarning: the key ends",
            "\nwarning: the port is closed",
        ];
        assert!(lines.ends_with(&endings.map(str::to_owned)), "{lines:#?}");
        let expected = json!({
            "configuration": "/etc/gateway.toml",
            "facts": [{"name": "store", "text": "/var/lib/queue.sqlite3"}],
            "rules": [],
            "notes": ["everybody can reach it"],
            "warnings": ["the key ends", "the port is closed"],
            "problems": [],
        });
        assert_eq!(serde_json::to_value(report()).unwrap(), expected);
        assert!(!report().is_well());
    }

    #[test]
    fn what_serve_would_refuse_is_not_called_valid() {
        let mut report = report();
        report.refuse(["the port is in use".to_owned()]);
        let lines = report.lines();
        assert!(lines[0].contains("serve would not start"), "{lines:?}");
        assert_eq!(lines.last().unwrap(), "\nproblem: the port is in use");
        let mut alone = Report::new(Path::new("/etc/gateway.toml"), Vec::new());
        assert!(alone.is_well());
        alone.refuse(["the port is in use".to_owned()]);
        assert!(!alone.is_well());
    }
}
