//! Entries as a table for people.

use std::io::{self, Write};

use jiff::Timestamp;

use super::super::{
    placed::Placed,
    table::{fit, line},
};
use crate::{
    audit::{Entry, Event},
    mail::Header,
    printable::Printable,
    time::relative::ago,
};

const NAMES: [&str; 6] = [
    "entry",
    "time (UTC)",
    "event",
    "rule or result",
    "sender or target",
    "about",
];

/// The widths of the columns, and the least that they may be cut to. They are fixed:
/// an entry is written before the next one is read.
const WIDTHS: [usize; 6] = [7, TIME, 13, 15, 24, 30];
const NARROWEST: [usize; 6] = [7, TIME, 9, 9, 9, 9];

/// Width of a time to the second.
const TIME: usize = 19;

/// Width of a time and its age.
const TIME_AND_AGE: usize = TIME + ", 400 days ago".len();

/// Least width of a terminal that has room for ages.
const WIDE: usize = 120;

#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// The terminal's width, to which cells and lines are cut. None if there is no
    /// terminal.
    pub(super) terminal: Option<usize>,
    pub(super) now: Timestamp,
}

pub(super) fn write_names(out: &mut impl Write, look: Look) -> io::Result<()> {
    writeln!(out, "{}", look.line(&NAMES.map(str::to_owned)))
}

pub(super) fn write(out: &mut impl Write, placed: &Placed, look: Look) -> io::Result<()> {
    writeln!(out, "{}", look.line(&cells(placed, look)))
}

impl Look {
    fn has_ages(self) -> bool {
        self.terminal.is_some_and(|terminal| terminal >= WIDE)
    }

    fn line(self, cells: &[String; 6]) -> String {
        let mut widths = [WIDTHS, NARROWEST];
        if self.has_ages() {
            for [_, time, ..] in &mut widths {
                *time = TIME_AND_AGE;
            }
        }
        let [widths, narrowest] = widths;
        line(cells, fit(widths, narrowest, self.terminal), self.terminal)
    }
}

fn cells(placed: &Placed, look: Look) -> [String; 6] {
    let entry = &placed.entry;
    let shown = |text: Option<&str>| Printable(text.unwrap_or_default()).to_string();
    let decided = [&entry.rule, &entry.code, &entry.result, &entry.verdict];
    let whom = match &entry.target {
        Some(target) => Some(target.as_str()),
        None => entry.reverse_path.as_deref(),
    };
    let mut time = entry.time.strftime("%Y-%m-%d %H:%M:%S").to_string();
    if look.has_ages() {
        time = format!("{time}, {}", ago(entry.time, look.now));
    }
    [
        placed.sequence.to_string(),
        time,
        entry.event.as_str().to_owned(),
        shown(decided.into_iter().flatten().next().map(String::as_str)),
        shown(whom),
        shown(Some(&about(entry))),
    ]
}

/// The most useful words about an entry.
fn about(entry: &Entry) -> String {
    let subject = entry
        .subject
        .as_ref()
        .map(|subject| Header::new(b"Subject", subject.as_bytes()).decoded());
    let from = entry.network.as_ref();
    let from = from.map(|network| format!(" from {network}"));
    let counted = entry
        .count
        .map(|count| format!("{count} times{}: ", from.unwrap_or_default()));
    let text = match entry.event {
        Event::Accepted | Event::Duplicate => subject.or_else(|| entry.service.clone()),
        Event::Judged => entry.reason.clone(),
        Event::Completed => [&entry.service, &entry.smid, &entry.detail]
            .into_iter()
            .flatten()
            .next_back()
            .cloned(),
        Event::Dropped => entry.reason.clone(),
        Event::Retried => entry.operator.clone(),
        _ => entry.detail.clone(),
    };
    counted.unwrap_or_default() + &text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_line_fits_and_nothing_in_it_acts() {
        let time: Timestamp = "2026-11-24T10:00:00.123Z".parse().unwrap();
        let entry = Entry {
            subject: Some("=?utf-8?q?{KMS:Help}=0D=0A=1B[31m?= x".repeat(9)),
            reverse_path: Some(format!("<{}@vendor.example>", "a".repeat(64))),
            ..Entry::new(time, Event::Accepted)
        };
        let placed = Placed {
            sequence: 12,
            entry,
        };
        for terminal in [Some(80), Some(132), Some(0), None] {
            let look = Look {
                terminal,
                now: time + SignedDuration::from_mins(3),
            };
            let mut out = Vec::new();
            write_names(&mut out, look).unwrap();
            write(&mut out, &placed, look).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(!text.contains(['\u{1b}', '\r']), "{text}");
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(
                terminal.is_none_or(|terminal| widest <= terminal.max(1)),
                "{text}"
            );
            assert!(text.contains("2026-11-24 10:00:00") || terminal == Some(0));
            assert_eq!(text.contains("3 min ago"), terminal == Some(132));
            assert_eq!(text.contains("{KMS"), terminal != Some(0), "{text}");
        }
    }
}
