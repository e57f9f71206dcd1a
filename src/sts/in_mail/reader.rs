//! Goes through the lines of an e-mail once and collects its records.
//!
//! The time grows in proportion to the text. Each line is cleared once. A
//! marker is looked for once at each place where one may begin, and is read in
//! bounded time. The rest of a line gets shorter with each marker. A record
//! that is longer than any valid one is not copied further.

use super::line::{Line, lines};
use super::marker::{self, Marker};
use crate::sts::error::{FieldError, RecordError};
use crate::sts::record::{MAXIMUM_LENGTH, Record};

/// Records that are read from one e-mail at most.
const MAXIMUM_FOUND: usize = 32;

/// A record in an e-mail, whole or damaged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The type that the BEGINS marker states.
    pub kind: String,
    /// Whether the line of the BEGINS marker is quoted with `>`. Such a record
    /// is a copy.
    pub quoted: bool,
    /// The line of the BEGINS marker, counted from 1.
    pub line: usize,
    /// The record, or its error.
    pub record: Result<Record, RecordError>,
}

/// Finds the records in the decoded text of an e-mail, at most 32 of them.
///
/// Takes time and memory in proportion to the length of `text`.
pub fn find_in_mail(text: &str) -> Vec<Found> {
    let mut reader = Reader::default();
    let mut lines = lines(text).peekable();
    while let Some(mut line) = lines.next() {
        if let Some(second) = lines.next_if(|next| marker::is_broken(&line.text, next.unquoted())) {
            line.text = format!("{} {}", line.text, second.unquoted());
        }
        reader.read(&line);
        if reader.found.len() >= MAXIMUM_FOUND {
            return reader.found;
        }
    }
    reader.close(None);
    reader.found
}

/// The records found so far, and the open one.
#[derive(Default)]
struct Reader {
    found: Vec<Found>,
    open: Option<Open>,
}

/// A record whose ENDS marker hasn't been seen.
struct Open {
    kind: String,
    quoted: bool,
    line: usize,
    text: String,
}

impl Reader {
    fn read(&mut self, line: &Line) {
        let mut remaining = match &self.open {
            // A field that holds a `>` may begin the line.
            Some(open) if !open.quoted => &line.text,
            _ => line.unquoted(),
        };
        while !remaining.is_empty() && self.found.len() < MAXIMUM_FOUND {
            if let Some(Marker { kind, rest }) = marker::begins(remaining) {
                self.close(None);
                self.open = Some(Open::new(kind, line));
                remaining = rest;
            } else if let Some(open) = &mut self.open {
                let Some((before, Marker { kind, rest })) = marker::ends(remaining) else {
                    return open.append(remaining);
                };
                open.append(before);
                self.close(Some(kind));
                remaining = rest;
            } else {
                return;
            }
        }
    }

    /// Ends the open record, if there is one, at a marker that names `ended`.
    fn close(&mut self, ended: Option<&str>) {
        if let Some(open) = self.open.take() {
            let record = open.record(ended);
            let Open {
                kind, quoted, line, ..
            } = open;
            self.found.push(Found {
                kind,
                quoted,
                line,
                record,
            });
        }
    }
}

impl Open {
    fn new(kind: &str, line: &Line) -> Self {
        let (quoted, line) = (line.is_quoted(), line.number);
        Self {
            kind: kind.to_owned(),
            quoted,
            line,
            text: String::new(),
        }
    }

    fn append(&mut self, text: &str) {
        // Leaves room for the dashes of a broken marker, which are taken off at
        // the end.
        let room = (2 * MAXIMUM_LENGTH).saturating_sub(self.text.len());
        self.text.extend(
            text.chars()
                .filter(|&character| character != ' ')
                .take(room),
        );
    }

    fn record(&self, ended: Option<&str>) -> Result<Record, RecordError> {
        if ended != Some(&self.kind) {
            let expected = format!("STS:{} ENDS", self.kind);
            let found = ended
                .map(|kind| format!("STS:{kind} ENDS"))
                .unwrap_or_default();
            return Err(FieldError::format(expected, &found).in_field(&self.kind, "ENDS marker"));
        }
        // Dashes at either end belong to the markers, as a record begins with a
        // letter and ends with a checksum.
        let text = self.text.trim_matches('-');
        let kind = text.split('|').next().unwrap_or_default();
        if kind != self.kind {
            let expected = format!("{}, as its BEGINS marker says", self.kind);
            return Err(FieldError::format(expected, kind).in_field(&self.kind, "type"));
        }
        Record::parse(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;
    use crate::sts::samples::{self, STANDARD_PUBLIC_KEY, STANDARD_REQUEST};
    use crate::sts::{TypedRecord, VkloadReq, single_in_mail, write_in_mail};

    fn in_mail(text: &str) -> String {
        write_in_mail(&Record::parse(text).unwrap())
    }

    #[test]
    fn finds_each_record_with_its_line() {
        let request = in_mail(STANDARD_REQUEST);
        let quoted: String = request
            .lines()
            .map(|line| format!("> {line}\r\n"))
            .collect();
        let text = format!("Hello\r\n\r\n{}\r\n{quoted}", in_mail(STANDARD_PUBLIC_KEY));
        let found = find_in_mail(&text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].kind.as_str(), found[0].quoted, found[0].line),
            ("PK.ECDH.1", false, 3)
        );
        assert_eq!(
            found[0].record.as_ref().unwrap().text(),
            STANDARD_PUBLIC_KEY
        );
        assert_eq!(
            (found[1].kind.as_str(), found[1].quoted, found[1].line),
            ("VKLOAD.REQ.1", true, 11)
        );
        assert_eq!(found[1].record.as_ref().unwrap().text(), STANDARD_REQUEST);
    }

    #[test]
    fn a_field_may_begin_its_line_with_a_greater_than_sign() {
        let fields = ["a".to_owned(), ">b".to_owned()];
        let record = Record::build("A.1", fields).unwrap();
        let mail = write_in_mail(&record).replace("|>b", "|\r\n>b");
        assert_eq!(find_in_mail(&mail)[0].record, Ok(record));
    }

    #[test]
    fn looks_for_no_more_than_its_limit() {
        let one = "STS:A.1 BEGINS A.1|STS:A.1 ENDS ";
        assert_eq!(find_in_mail(&one.repeat(1_000)).len(), MAXIMUM_FOUND);
        assert_eq!(
            find_in_mail(&"STS:A.1 BEGINS\n".repeat(1_000)).len(),
            MAXIMUM_FOUND
        );
    }

    /// Each of these would take minutes, all of them an hour, if reading were quadratic.
    #[test]
    fn hostile_mails_take_linear_time() {
        let many = |piece: &str| piece.repeat(262_144 / piece.len());
        let open = "STS:A.1 BEGINS\n";
        for piece in [
            "-",
            "- ",
            "> ",
            ">",
            "\u{A0}",
            "STS:",
            "-STS:",
            "STS:A.1 ",
            "STS:A.1\n",
            "STS:A.1 END ",
            "STS:A.1 BEGIN ",
            "-\n",
            "\n",
            "\r",
            "STS:A.1 ENDS ",
            "BEGINS\n",
            "A.1|",
            "A.",
            "|",
            "STS:A.1 BEGINS STS:",
            "\u{200B}",
        ] {
            assert!(find_in_mail(&many(piece)).len() <= MAXIMUM_FOUND);
            assert!(find_in_mail(&format!("{open}{}", many(piece))).len() <= MAXIMUM_FOUND);
        }
    }

    /// Something that may follow any character of a record on its way.
    fn noise() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            " ",
            "\t",
            "\u{A0}",
            " \r\n",
            "\r\n",
            "\n",
            "\n\n",
            "\r\n \r\n",
            "\u{200B}",
            "\u{FEFF}",
            "\u{AD}",
            "\u{2009}",
            "\r\n    ",
            "\u{2028}",
        ])
    }

    /// Wraps the lines between the markers at `width`.
    fn rewrap(mail: &str, width: usize, line_end: &str) -> String {
        let lines: Vec<&str> = mail.lines().collect();
        let (first, rest) = lines.split_first().unwrap();
        let (last, record) = rest.split_last().unwrap();
        let record: Vec<char> = record.concat().chars().collect();
        let wrapped = record.chunks(width).map(String::from_iter);
        let all: Vec<String> = [first.to_string()]
            .into_iter()
            .chain(wrapped)
            .chain([last.to_string()])
            .collect();
        all.join(line_end)
    }

    proptest! {
        #[test]
        fn a_written_record_is_read_at_any_width(
            request in samples::request(),
            width in 1..200_usize,
            line_end in prop::sample::select(vec!["\n", "\r\n", " \r\n", "\r", "\n\n", "\u{A0}\n "]),
        ) {
            let mail = rewrap(&write_in_mail(&request.to_record()), width, line_end);
            prop_assert_eq!(single_in_mail::<VkloadReq>(&mail), Ok(request));
        }

        #[test]
        fn a_written_record_is_read_through_noise(
            key in samples::public_key(),
            noises in prop::collection::vec((any::<prop::sample::Index>(), noise()), 0..20),
            before in "[a-z .,\n]{0,80}",
            after in "[a-z .,\n-]{0,80}",
        ) {
            let record = key.to_record();
            let mut text = record.text().to_owned();
            for (index, noise) in noises {
                let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
                text.insert_str(places[index.index(places.len())], noise);
            }
            let mail = format!("{before}\n--STS:PK.ECDH.1 BEGINS--\n{text}\nSTS:PK.ECDH.1 ENDS {after}");
            prop_assert_eq!(single_in_mail(&mail), Ok(key));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            find_in_mail(&text);
        }

        #[test]
        fn no_mail_like_text_panics(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "STS:", "A.1", "A.1|", " ", "BEGINS", "ENDS", "-", "\n", "\r", ">", "|", "\u{A0}", "é",
                    "\u{2014}", "STS:A.1 BEGINS", "STS:A.1 ENDS", "FB39", "\u{0}",
                ]),
                0..40,
            ),
        ) {
            for found in find_in_mail(&pieces.concat()) {
                if let Ok(record) = found.record {
                    prop_assert_eq!(record.kind(), found.kind);
                }
            }
        }
    }
}
