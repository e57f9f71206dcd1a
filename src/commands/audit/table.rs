//! Entries as a table for people.

use std::io::{self, Write};

use super::{super::table::cut, output::Placed};
use crate::{
    audit::{Entry, Event},
    mail::Header,
    printable::Printable,
};

/// Widths of all columns but the last.
const WIDTHS: [usize; 5] = [7, 19, 13, 15, 24];

/// Writes the line of names. With a width, cells and lines are cut to it.
pub(super) fn write_names(out: &mut impl Write, width: Option<usize>) -> io::Result<()> {
    let names = [
        "entry",
        "time (UTC)",
        "event",
        "rule or result",
        "sender or target",
        "about",
    ];
    writeln!(out, "{}", line(&names.map(str::to_owned), width))
}

/// Writes an entry's line.
pub(super) fn write(out: &mut impl Write, placed: &Placed, width: Option<usize>) -> io::Result<()> {
    let cells = cells(placed.sequence, &placed.entry);
    writeln!(out, "{}", line(&cells, width))
}

fn cells(sequence: i64, entry: &Entry) -> [String; 6] {
    let shown = |text: Option<&str>| Printable(text.unwrap_or_default()).to_string();
    let decided = [&entry.rule, &entry.code, &entry.result, &entry.verdict];
    let whom = match &entry.target {
        Some(target) => Some(target.as_str()),
        None => entry.reverse_path.as_deref(),
    };
    [
        sequence.to_string(),
        entry.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        entry.event.as_str().to_owned(),
        shown(decided.into_iter().flatten().next().map(String::as_str)),
        shown(whom),
        shown(Some(&about(entry))),
    ]
}

/// What a person wants to know of an entry first.
fn about(entry: &Entry) -> String {
    let subject = entry
        .subject
        .as_ref()
        .map(|subject| Header::new(b"Subject", subject.as_bytes()).decoded());
    let counted = entry.count.map(|count| format!("{count} times: "));
    let text = match entry.event {
        Event::Accepted | Event::Duplicate => subject.or_else(|| entry.service.clone()),
        Event::Judged => entry.reason.clone(),
        Event::Completed => [&entry.service, &entry.detail]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .reduce(|_, detail| detail)
            .map(str::to_owned),
        _ => entry.detail.clone(),
    };
    counted.unwrap_or_default() + &text.unwrap_or_default()
}

fn line(cells: &[String; 6], width: Option<usize>) -> String {
    let mut line = String::new();
    for (index, cell) in cells.iter().enumerate() {
        match (WIDTHS.get(index), width) {
            (Some(&column), Some(_)) => {
                line.push_str(&format!("{:<column$}  ", cut(cell, column)));
            }
            (Some(&column), None) => line.push_str(&format!("{cell:<column$}  ")),
            (None, _) => line.push_str(cell),
        }
    }
    match width {
        Some(width) => cut(line.trim_end(), width),
        None => line.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_line_fits_and_nothing_in_it_acts() {
        let time = "2026-11-24T10:00:00.123Z".parse().unwrap();
        let entry = Entry {
            subject: Some("=?utf-8?q?{KMS:Help}=0D=0A=1B[31m?= x".repeat(9)),
            reverse_path: Some(format!("<{}@vendor.example>", "a".repeat(64))),
            ..Entry::new(time, Event::Accepted)
        };
        let placed = Placed {
            sequence: 12,
            entry,
        };
        for width in [Some(80), Some(132), Some(0), None] {
            let mut out = Vec::new();
            write_names(&mut out, width).unwrap();
            write(&mut out, &placed, width).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(!text.contains(['\u{1b}', '\r']), "{text}");
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(width.is_none_or(|width| widest <= width.max(1)), "{text}");
        }
    }
}
