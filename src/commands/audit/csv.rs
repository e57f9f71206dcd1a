//! Comma-separated values (RFC 4180). A spreadsheet can open them, and takes no
//! stranger's text for a formula.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::super::placed::Placed;
use crate::printable::Printable;

const COLUMNS: [&str; 28] = [
    "sequence",
    "time",
    "event",
    "queue_id",
    "request_id",
    "client",
    "helo",
    "reverse_path",
    "recipients",
    "from",
    "subject",
    "message_id",
    "size",
    "verdict",
    "rule",
    "reason",
    "service",
    "result",
    "code",
    "detail",
    "target",
    "reply_message_id",
    "count",
    "attempts",
    "operator",
    "network",
    "smid",
    "node",
];

pub(super) fn write_names(out: &mut impl Write) -> io::Result<()> {
    write_line(out, COLUMNS.map(str::to_owned))
}

pub(super) fn write(out: &mut impl Write, placed: &Placed) -> io::Result<()> {
    write_line(out, cells(placed))
}

fn write_line(out: &mut impl Write, cells: [String; COLUMNS.len()]) -> io::Result<()> {
    let quoted = cells.map(|cell| format!("\"{}\"", inert(&cell).replace('"', "\"\"")));
    write!(out, "{}\r\n", quoted.join(","))
}

/// Escapes a text to one line. Puts an apostrophe before it if a spreadsheet would
/// evaluate it (OWASP, CSV Injection).
fn inert(text: &str) -> String {
    let shown = Printable(text).to_string();
    let is_formula = text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'])
        || text.starts_with(['\t', '\r', '\n']);
    if is_formula {
        format!("'{shown}")
    } else {
        shown
    }
}

/// The cells of an entry, from its JSON: a missing field is empty, and a list is
/// separated by blanks.
fn cells(placed: &Placed) -> [String; COLUMNS.len()] {
    let object = json!(placed);
    COLUMNS.map(|column| match object.get(column) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(texts)) => {
            let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
            texts.join(" ")
        }
        Some(number) => number.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::{Entry, Event};

    #[test]
    fn no_cell_is_a_formula_and_no_line_ends_within() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\t=1"),
            ("\r\n=1", "'\\r\\n=1"),
            (" =1", "' =1"),
            ("<a@b.example>", "<a@b.example>"),
            ("a\u{202e}b\u{1b}[1m", "a\\u{202e}b\\u{1b}[1m"),
        ] {
            assert_eq!(inert(text), cell);
        }
    }

    #[test]
    fn every_field_has_its_column() {
        let time: jiff::Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        let mut entry = Entry::new(time, Event::Judged);
        entry.subject = Some("say \"=1\", twice".to_owned());
        entry.size = Some(7);
        let mut out = Vec::new();
        write_names(&mut out).unwrap();
        write(&mut out, &Placed { sequence: 3, entry }).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        let cells = |line: &str| line.matches("\",\"").count() + 1;
        assert!(
            lines.iter().all(|line| cells(line) >= COLUMNS.len()),
            "{text}"
        );
        assert!(text.contains(r#","say ""=1"", twice","","7","#), "{text}");
    }
}
