//! Shows how each rule judged a message: a table, in colour on a terminal.

use std::env;

use super::{
    super::table::{Column, Table, terminal_width},
    looks::looked_at,
};
use crate::policy::{self, Facts, Looked, RuleResult};

const COLUMNS: [Column; 4] = [
    Column::whole("rule"),
    Column::at_least(12, "looked at"),
    Column::at_least(12, "found"),
    Column::whole("verdict"),
];

/// A rule's result, and the part of the message that it looked at.
pub(super) struct Row {
    pub(super) result: RuleResult,
    pub(super) looked_at: String,
}

impl Row {
    /// The rows of all rules, in their order.
    pub(super) fn all(facts: &Facts<'_>) -> Vec<Self> {
        policy::explain(facts)
            .into_iter()
            .map(|result| Self {
                looked_at: looked_at(result.rule, facts),
                result,
            })
            .collect()
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    /// The terminal's width in columns. None if there is no terminal.
    pub(super) width: Option<usize>,
    pub(super) colour: bool,
}

impl Style {
    /// The style for standard output. Colour follows <https://no-color.org>.
    pub(super) fn of_stdout() -> Self {
        let width = terminal_width();
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self {
            width,
            colour: width.is_some() && !refused,
        }
    }
}

/// The table's lines. `>` marks the deciding row.
pub(super) fn lines(rows: &[Row], style: Style) -> Vec<String> {
    const NO_MARK: &str = "  ";
    let mut table = Table::new(COLUMNS);
    for row in rows {
        table.push(cells(row));
    }
    let room = style.width.map(|width| width.saturating_sub(NO_MARK.len()));
    let of_rows = [None].into_iter().chain(rows.iter().map(Some));
    let lines = table.lines(room).into_iter().zip(of_rows);
    lines
        .map(|(line, row)| {
            let mark = if row.is_some_and(decides) {
                "> "
            } else {
                NO_MARK
            };
            match row.and_then(colour_of) {
                Some(colour) if style.colour => format!("\x1b[{colour}m{mark}{line}\x1b[0m"),
                _ => format!("{mark}{line}"),
            }
        })
        .collect()
}

fn decides(row: &Row) -> bool {
    matches!(row.result.looked, Looked::Decides(_))
}

/// The cells of a row: rule, looked at, found, verdict.
pub(super) fn cells(row: &Row) -> [String; 4] {
    let (found, verdict) = match &row.result.looked {
        Looked::NotAsked => ("-", "not asked".to_owned()),
        Looked::Clear => ("-", "no match".to_owned()),
        Looked::Decides(finding) => (finding.reason.as_str(), finding.outcome.to_string()),
        Looked::WouldMatch(finding) => (finding.reason.as_str(), format!("({})", finding.outcome)),
    };
    [
        row.result.rule.name.to_string(),
        row.looked_at.clone(),
        found.to_owned(),
        verdict,
    ]
}

/// Bold red for the deciding rule, yellow for rules that would have matched, dim for
/// the others.
fn colour_of(row: &Row) -> Option<&'static str> {
    match row.result.looked {
        Looked::NotAsked | Looked::Clear => Some("2"),
        Looked::Decides(_) => Some("1;31"),
        Looked::WouldMatch(_) => Some("33"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::policy::{Finding, Outcome, RULES};

    fn rows() -> Vec<Row> {
        let finding = || Finding {
            outcome: Outcome::Ignore,
            reason: "a reason of some length ".repeat(6),
        };
        let looked = [Looked::NotAsked, Looked::Clear, Looked::Decides(finding())];
        RULES
            .iter()
            .zip(looked.into_iter().chain([Looked::WouldMatch(finding())]))
            .map(|(rule, looked)| Row {
                result: RuleResult { rule, looked },
                looked_at: "Subject: of some length".repeat(3),
            })
            .collect()
    }

    #[test]
    fn the_table_fits_a_terminal_and_marks_one_row() {
        for width in [80, 100, 200] {
            let style = Style {
                width: Some(width),
                colour: false,
            };
            let lines = lines(&rows(), style);
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{lines:#?}"
            );
            let marked: Vec<&String> = lines.iter().filter(|line| line.starts_with('>')).collect();
            assert_eq!(marked.len(), 1, "{lines:#?}");
            assert!(marked.first().unwrap().ends_with("  ignore"));
        }
    }

    #[test]
    fn colour_is_for_terminals_and_nothing_else_changes() {
        let plain = lines(&rows(), Style::default()).join("\n");
        assert!(!plain.contains('\x1b'));
        let style = Style {
            width: None,
            colour: true,
        };
        let coloured = lines(&rows(), style).join("\n");
        let stripped: String = ["\x1b[2m", "\x1b[1;31m", "\x1b[33m", "\x1b[0m"]
            .iter()
            .fold(coloured.clone(), |text, code| text.replace(code, ""));
        assert_ne!(coloured, plain);
        assert_eq!(stripped, plain);
    }
}
