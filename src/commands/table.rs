//! Tables whose columns fit the terminal. Cells must be printable.

use std::io::{self, IsTerminal};

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The width of a terminal that does not report it.
const DEFAULT_WIDTH: usize = 80;

/// Stands between two columns.
const GAP: &str = "  ";

/// A time in UTC, to the second.
pub(super) fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The width of standard output in columns; none if it is no terminal.
pub(super) fn terminal_width() -> Option<usize> {
    let width = || terminal_size::terminal_size().map(|(width, _)| width.0.into());
    io::stdout()
        .is_terminal()
        .then(|| width().unwrap_or(DEFAULT_WIDTH))
}

/// Cuts a text to `width` columns, and marks the cut by `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let needed = c.width().unwrap_or(0);
        let fits = needed <= left;
        left = left.saturating_sub(needed);
        fits
    };
    let kept: String = text.chars().take_while(fits).collect();
    kept + "…"
}

/// Rows under the names of their columns.
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

#[derive(Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    /// The least width that it may be cut to.
    narrowest: usize,
}

impl Column {
    /// A column that is never cut.
    pub(super) const fn whole(name: &'static str) -> Self {
        Self::at_least(usize::MAX, name)
    }

    /// A column that may be cut to `narrowest`.
    pub(super) const fn at_least(narrowest: usize, name: &'static str) -> Self {
        Self { name, narrowest }
    }
}

impl<const N: usize> Table<N> {
    pub(super) fn new(columns: [Column; N]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// The lines, the names first. No line is wider than `terminal`.
    pub(super) fn lines(&self, terminal: Option<usize>) -> Vec<String> {
        let mut widths = self.columns.map(|column| column.name.width());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let narrowest = self.columns.map(|column| column.narrowest);
        let widths = fit(widths, narrowest, terminal);
        let names = self.columns.map(|column| column.name.to_owned());
        let lines = [&names].into_iter().chain(&self.rows);
        lines.map(|cells| line(cells, widths, terminal)).collect()
    }
}

/// Narrows the widest columns until all have room on the terminal side by side, or
/// until none can be narrowed further.
pub(super) fn fit<const N: usize>(
    mut widths: [usize; N],
    narrowest: [usize; N],
    terminal: Option<usize>,
) -> [usize; N] {
    let Some(terminal) = terminal else {
        return widths;
    };
    let room = terminal.saturating_sub(GAP.len() * N.saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let can_give = widths.iter_mut().zip(narrowest);
        let can_give = can_give.filter(|(width, narrowest)| **width > *narrowest);
        match can_give.map(|(width, _)| width).max() {
            Some(widest) => *widest -= 1,
            None => break,
        }
    }
    widths
}

/// Writes cells as a line. On a terminal the cells and the line are cut.
pub(super) fn line<const N: usize>(
    cells: &[String; N],
    widths: [usize; N],
    terminal: Option<usize>,
) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = match terminal {
            Some(_) => cut(cell, width),
            None => cell.clone(),
        };
        let padding = width.saturating_sub(cell.width());
        line.push_str(&format!("{cell}{:padding$}{GAP}", ""));
    }
    let line = line.trim_end();
    terminal.map_or_else(|| line.to_owned(), |terminal| cut(line, terminal))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn table(cells: &[[&str; 3]]) -> Table<3> {
        let mut table = Table::new(["id", "whom", "why"].map(|name| Column::at_least(4, name)));
        for row in cells {
            table.push(row.map(str::to_owned));
        }
        table
    }

    #[test]
    fn the_widest_column_gives_room_and_none_more_than_it_must() {
        let rows = [["12345678", "alice@vendor.example", "away"]];
        let whole = table(&rows).lines(None);
        assert_eq!(
            whole,
            [
                "id        whom                  why",
                "12345678  alice@vendor.example  away"
            ]
        );
        assert_eq!(table(&rows).lines(Some(80)), whole);
        let narrow = table(&rows).lines(Some(30));
        assert_eq!(narrow.last().unwrap(), "12345678  alice@vendor.…  away");
        let narrower = table(&rows).lines(Some(20));
        assert_eq!(narrower.last().unwrap(), "12345…  alice…  away");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(cut("日本語テスト", 12), "日本語テスト");
        assert_eq!(cut("日本語テスト", 6), "日本…");
        assert_eq!(cut("日本", 0), "…");
        let lines = table(&[["日本", "b", "c"], ["abcd", "b", "c"]]).lines(None);
        assert_eq!(lines.get(1).unwrap(), "日本  b     c");
        assert_eq!(lines.get(2).unwrap(), "abcd  b     c");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            cells in prop::array::uniform3("\\PC{0,40}"),
            terminal in 1..100_usize,
        ) {
            let cells = cells.each_ref().map(String::as_str);
            for line in table(&[cells]).lines(Some(terminal)) {
                prop_assert!(line.width() <= terminal, "{}", line);
            }
        }
    }
}
