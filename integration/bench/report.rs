//! The report of the measurements, for a terminal and as Markdown.

use std::fmt::Write;

use super::{
    figures::{Limit, Spread, Standing, Table},
    plan::Plan,
};

/// A bound and what was found.
pub struct Bound {
    pub what: String,
    pub limit: Limit,
    pub found: Spread,
    /// One case against itself: how far apart two measurements of the same lie.
    pub itself: Option<Spread>,
}

/// The tables and bounds of one section.
pub struct Section {
    pub title: &'static str,
    /// How it was measured.
    pub method: String,
    pub table: Table,
    pub bounds: Vec<Bound>,
}

pub struct Report {
    head: String,
    sections: Vec<Section>,
    /// A short run says nothing about bounds.
    judges: bool,
}

impl Report {
    pub fn new(machine: &str, plan: &Plan) -> Self {
        let head = format!(
            "{machine}\n\nMedians of {} interleaved rounds, {} of the throughput, and in brackets the interval in \
             which the median lies in 19 of 20 runs. A ratio is taken round by round; a bound is missed where that \
             interval excludes it.\n",
            plan.rounds, plan.throughput_rounds
        );
        Self {
            head,
            sections: Vec::new(),
            judges: plan.rounds >= Plan::LEAST_ROUNDS,
        }
    }

    pub fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    pub fn missed(&self) -> usize {
        let bounds = self.sections.iter().flat_map(|section| &section.bounds);
        bounds
            .filter(|bound| bound.limit.standing(bound.found) == Standing::Missed)
            .count()
    }

    pub fn in_markdown(&self) -> String {
        let mut text = format!("# Measured\n\n{}", self.head);
        for section in &self.sections {
            let _ = write!(text, "\n## {}\n\n{}\n", section.title, section.method);
            for cells in section.tables(self.judges) {
                text.push('\n');
                for (number, row) in cells.iter().enumerate() {
                    let _ = writeln!(text, "| {} |", row.join(" | "));
                    if number == 0 {
                        let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
                    }
                }
            }
        }
        text
    }

    pub fn for_a_terminal(&self) -> String {
        let mut text = format!("\n{}", self.head);
        for section in &self.sections {
            let _ = write!(text, "\n{}\n{}\n", section.title, section.method);
            for cells in section.tables(self.judges) {
                text.push('\n');
                let width = |column: usize| {
                    let widths = cells.iter().map(|row| row[column].chars().count());
                    widths.max().unwrap_or_default()
                };
                for row in &cells {
                    for (column, cell) in row.iter().enumerate() {
                        let _ = write!(text, "  {cell:width$}", width = width(column));
                    }
                    text.truncate(text.trim_end().len());
                    text.push('\n');
                }
            }
        }
        text
    }
}

impl Section {
    /// The figures, and the bounds if there are any; the first row is the head.
    fn tables(&self, judged: bool) -> Vec<Vec<Vec<String>>> {
        let mut tables = vec![self.figures()];
        if judged && !self.bounds.is_empty() {
            tables.push(self.bounds());
        }
        tables
    }

    fn figures(&self) -> Vec<Vec<String>> {
        let names = self.table.figures.iter().map(ToString::to_string);
        let head = std::iter::once(String::new()).chain(names).collect();
        let rows = self.table.rows.iter().map(|(name, series)| {
            let cells = series.iter().map(|series| series.spread().to_string());
            std::iter::once(name.clone()).chain(cells).collect()
        });
        std::iter::once(head).chain(rows).collect()
    }

    fn bounds(&self) -> Vec<Vec<String>> {
        let head = ["ratio", "bound", "found", "one case to itself", ""];
        let rows = self.bounds.iter().map(|bound| {
            vec![
                bound.what.clone(),
                bound.limit.to_string(),
                bound.found.to_string(),
                bound
                    .itself
                    .map_or_else(String::new, |spread| spread.to_string()),
                bound.limit.standing(bound.found).to_string(),
            ]
        });
        std::iter::once(head.map(str::to_owned).to_vec())
            .chain(rows)
            .collect()
    }
}
