//! Reads a message file as Postfix would hand it to a milter: does to its lines what
//! smtpd(8) and cleanup(8) do. Each step was tried on Postfix 3.7.

use std::iter::Peekable;

use crate::mail::{Headers, Message};

/// The most octets of a field, its name and colon included. With a milter, cleanup(8)
/// keeps no more, whatever header_size_limit says.
const LONGEST_FIELD: usize = 60_000;

/// Once a field is longer than this, a line that does not fit is left out whole.
const NICE_CUT: usize = LONGEST_FIELD / 10 * 9;

/// The octets that Postfix reads at once (line_length_limit). A field's colon must be
/// among the first ones.
const LINE_LENGTH: usize = 2_048;

/// A message as Postfix hands it to the milter.
pub(super) struct Received {
    pub(super) message: Message,
    /// The number of octets, as the milter counts them.
    pub(super) size: u64,
}

/// Reads a message file with CRLF or LF line ends.
pub(super) fn received(file: &[u8]) -> Received {
    let lines = file.split_inclusive(|&octet| octet == b'\n').map(sent);
    let mut reader = Reader {
        lines: lines.peekable(),
        headers: Headers::new(),
        size: 0,
    };
    reader.take_mailbox_lines();
    while let Some(field) = reader.next_field() {
        reader.push(&field);
    }
    reader.lines.next_if(Vec::is_empty);
    let mut body = Vec::new();
    for line in reader.lines {
        body.extend_from_slice(&line);
        body.extend_from_slice(b"\r\n");
    }
    Received {
        size: reader.size.saturating_add(body.len()) as u64,
        message: Message {
            headers: reader.headers,
            body,
        },
    }
}

/// Removes the line end. Turns a carriage return within the line into a blank.
fn sent(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let end = line.iter().rposition(|&octet| octet != b'\r');
    let line = line.get(..end.map_or(0, |last| last + 1));
    let blank_for_return = |&octet: &u8| if octet == b'\r' { b' ' } else { octet };
    line.unwrap_or_default()
        .iter()
        .map(blank_for_return)
        .collect()
}

struct Reader<L: Iterator<Item = Vec<u8>>> {
    lines: Peekable<L>,
    headers: Headers,
    size: usize,
}

impl<L: Iterator<Item = Vec<u8>>> Reader<L> {
    /// Makes fields of the mailbox file's lines before the message. If the next line
    /// starts with a blank, the body begins there.
    fn take_mailbox_lines(&mut self) {
        while let Some(line) = self.lines.next_if(|line| is_mailbox_line(line)) {
            self.push(&[b"X-Mailbox-Line: ", line.as_slice()].concat());
        }
    }

    /// Reads the next field with its folded lines, separated by LF.
    fn next_field(&mut self) -> Option<Vec<u8>> {
        let first = self.lines.next_if(|line| name(line).is_some())?;
        let mut field = Vec::new();
        let mut is_cut = !append(&mut field, &first);
        while let Some(line) = self.lines.next_if(|line| starts_with_blank(line)) {
            is_cut = is_cut || !append(&mut field, &line);
        }
        Some(field)
    }

    fn push(&mut self, field: &[u8]) {
        let Some(name) = name(field) else { return };
        let colon = field.iter().position(|&octet| octet == b':');
        let value = colon.and_then(|colon| field.get(colon + 1..));
        let value = value.unwrap_or_default();
        self.headers.push(name, value);
        self.size += name.len() + value.len() + ":\r\n".len();
    }
}

fn starts_with_blank(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

fn is_mailbox_line(line: &[u8]) -> bool {
    let quote = line.iter().take_while(|&&octet| octet == b'>').count();
    line.get(quote..)
        .is_some_and(|line| line.starts_with(b"From "))
}

/// The name of the field that a line begins. Only blanks may stand between the name
/// and the colon.
fn name(line: &[u8]) -> Option<&[u8]> {
    let line = line.get(..LINE_LENGTH).unwrap_or(line);
    let colon = line.iter().position(|&octet| octet == b':')?;
    let mut name = line.get(..colon)?;
    while let Some(shorter) = name.strip_suffix(b" ").or(name.strip_suffix(b"\t")) {
        name = shorter;
    }
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some(name)
}

/// Adds a line up to its first NUL. Returns false if the field is full.
fn append(field: &mut Vec<u8>, line: &[u8]) -> bool {
    let line = line.split(|&octet| octet == 0).next().unwrap_or_default();
    let begins_at = match field.is_empty() {
        true => 0,
        false => field.len() + 1,
    };
    let fits = begins_at + line.len() <= LONGEST_FIELD;
    if !fits && begins_at > NICE_CUT {
        return false;
    }
    if begins_at > 0 {
        field.push(b'\n');
    }
    let room = LONGEST_FIELD.saturating_sub(begins_at);
    field.extend(line.iter().take(room));
    fits
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// The fields and the body.
    fn read(file: &[u8]) -> (Vec<(String, String)>, String) {
        let Message { headers, body } = received(file).message;
        let field = |header: &crate::mail::Header| {
            let value = String::from_utf8(header.value().to_vec()).unwrap();
            (header.name().into_owned(), value)
        };
        let fields = headers.iter().map(field).collect();
        (fields, String::from_utf8(body).unwrap())
    }

    #[track_caller]
    fn reads(file: &str, fields: &[(&str, &str)], body: &str) {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let expected = (fields.iter().map(owned).collect(), body.to_owned());
        assert_eq!(read(file.as_bytes()), expected, "{file:?}");
        let with_crlf = file.replace("\r\n", "\n").replace('\n', "\r\n");
        assert_eq!(read(with_crlf.as_bytes()), expected, "{with_crlf:?}");
    }

    #[test]
    fn a_field_is_one_where_postfix_sees_one() {
        reads(
            "A: 1\nB : 2\n\nbody",
            &[("A", " 1"), ("B", " 2")],
            "body\r\n",
        );
        reads(
            "A: 1\n \t\nB:\n\nb\n",
            &[("A", " 1\r\n \t"), ("B", "")],
            "b\r\n",
        );
        // A name stands in one line, and has no blank, control or 8-bit octet.
        for line in [
            "S\n : x",
            "S \n\t: x",
            "S x: y",
            ": x",
            "\u{1}: x",
            "é: x",
            "x",
        ] {
            let file = format!("A: 1\n{line}\nB: 2\n\nbody\n");
            let body = format!("{line}\nB: 2\n\nbody\n").replace('\n', "\r\n");
            reads(&file, &[("A", " 1")], &body);
        }
        reads(" A: 1\nB: 2\n", &[], " A: 1\r\nB: 2\r\n");
        reads("\nA: 1\n", &[], "A: 1\r\n");
        reads("A: 1", &[("A", " 1")], "");
        reads("", &[], "");
    }

    #[test]
    fn the_lines_of_a_mailbox_file_become_fields() {
        let line = ("X-Mailbox-Line", " >From a@b Tue 12:00");
        reads(">From a@b Tue 12:00\nA: 1\n", &[line, ("A", " 1")], "");
        let lines = [
            ("X-Mailbox-Line", " From a"),
            ("X-Mailbox-Line", " >>From c"),
        ];
        reads("From a\n>>From c\n\nbody\n", &lines, "body\r\n");
        reads("From a\n B: 1\n", &lines[..1], " B: 1\r\n");
        let in_the_midst = "From a b: 1\r\nC: 1\r\n";
        reads(
            &format!("A: 1\n{in_the_midst}"),
            &[("A", " 1")],
            in_the_midst,
        );
    }

    #[test]
    fn returns_and_nul_are_what_postfix_makes_of_them() {
        reads(
            "A: 1\rB: 2\r\r\n\nb\rc\r\r\n",
            &[("A", " 1 B: 2")],
            "b c\r\n",
        );
        reads(
            "A: 1\0x\n y\0z\nB: 2\n",
            &[("A", " 1\r\n y"), ("B", " 2")],
            "",
        );
        reads("A: 1\n\0 B: 2\n", &[("A", " 1")], "\0 B: 2\r\n");
    }

    /// The lengths are those of Postfix 3.7. The LF of a fold counts as one octet.
    #[test]
    fn a_field_past_the_limit_is_cut() {
        let x = |count: usize| "x".repeat(count);
        let folded = format!("{}\n ", x(70)).repeat(900);
        for (field, length) in [
            (format!("Long: {}", x(70_000)), 60_000),
            (format!("A: {}\n {}", x(53_990), x(10_000)), 60_000),
            (format!("A: {}\n {}\n z", x(54_010), x(10_000)), 54_013),
            (format!("A: {}\n {}", x(59_997), x(10)), 60_000),
            (format!("Long: {folded}"), 59_980),
        ] {
            let file = format!("{field}\nB: 2\n\nbody");
            let Received { message, size } = received(file.as_bytes());
            let rest = "B: 2\r\nbody\r\n".len() + "\r\n".len();
            assert_eq!(size, (length + rest) as u64);
            assert_eq!(message.headers.len(), 2);
        }
        assert_eq!(read(format!("{}: y\n", x(2_047)).as_bytes()).0.len(), 1);
        assert_eq!(read(format!("{}: y\n", x(2_048)).as_bytes()).0.len(), 0);
    }

    proptest! {
        #[test]
        fn no_octets_panic(file in prop::collection::vec(any::<u8>(), 0..400)) {
            received(&file);
        }

        /// A well-formed message is read unchanged.
        #[test]
        fn what_is_well_formed_stays(
            fields in prop::collection::vec(("[!-9;-~]{1,12}", " [ -~]{0,40}(\r\n [!-~]{1,20})?"), 1..8),
            body in "([ -~]{0,60}\r\n){0,5}",
        ) {
            let mut message = Message { body: body.into_bytes(), ..Message::default() };
            for (name, value) in &fields {
                message.headers.push(name.as_bytes(), value.as_bytes());
            }
            prop_assert_eq!(received(&message.to_bytes()).message, message);
        }
    }
}
