//! The rules' looks at a message as a table, in colour on a terminal.

use std::{env, io::IsTerminal};

use super::super::table::cut;
use crate::{policy::Looked, policy::RuleResult};

/// The columns, the deciding row's mark before them.
const NAMES: [&str; 4] = ["rule", "looked at", "found", "verdict"];

/// The least that a column is cut to.
const NARROWEST: usize = 12;

/// A rule's look, and what it looked at.
pub(super) struct Row {
    pub(super) result: RuleResult,
    pub(super) looked_at: String,
}

/// How the table is to look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    /// The terminal's columns, if it is one.
    pub(super) width: Option<usize>,
    /// Whether it shows colours.
    pub(super) colour: bool,
}

impl Style {
    /// For standard output. Colour by <https://no-color.org>.
    pub(super) fn of_stdout() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self {
            width: is_terminal.then(super::super::table::terminal_width),
            colour: is_terminal && !refused,
        }
    }
}

/// The table, a line each.
pub(super) fn lines(rows: &[Row], style: Style) -> Vec<String> {
    let cells: Vec<[String; 4]> = rows.iter().map(cells).collect();
    let widths = widths(&cells, style.width);
    let mut lines = vec![line("  ", &NAMES.map(str::to_owned), widths)];
    for (row, cells) in rows.iter().zip(&cells) {
        let mark = if decides(row) { "> " } else { "  " };
        let text = line(mark, cells, widths);
        lines.push(match colour_of(row) {
            Some(colour) if style.colour => format!("\x1b[{colour}m{text}\x1b[0m"),
            _ => text,
        });
    }
    lines
}

fn decides(row: &Row) -> bool {
    matches!(row.result.looked, Looked::Decides(_))
}

fn cells(row: &Row) -> [String; 4] {
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

/// Bold red decides, yellow would have, what doesn't match is dim.
fn colour_of(row: &Row) -> Option<&'static str> {
    match row.result.looked {
        Looked::NotAsked | Looked::Clear => Some("2"),
        Looked::Decides(_) => Some("1;31"),
        Looked::WouldMatch(_) => Some("33"),
    }
}

/// As wide as the widest cell; on a terminal what was found and what was
/// looked at share what is left.
fn widths(rows: &[[String; 4]], terminal: Option<usize>) -> [usize; 4] {
    let mut widths = NAMES.map(|name| name.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let Some(terminal) = terminal else {
        return widths;
    };
    let [rule, looked_at, found, verdict] = widths;
    let room = terminal.saturating_sub(rule + verdict + "  ".len() * 4);
    if looked_at + found <= room {
        return widths;
    }
    let looked_at = looked_at.min(room / 2).max(NARROWEST);
    let found = found.min(room.saturating_sub(looked_at)).max(NARROWEST);
    [rule, looked_at, found, verdict]
}

fn line(mark: &str, cells: &[String; 4], widths: [usize; 4]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{:<width$}", cut(cell, width)))
        .collect();
    format!("{mark}{}", padded.join("  ")).trim_end().to_owned()
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
