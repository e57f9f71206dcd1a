//! The file of records: one record a line, this project's profile.

use super::error::RecordError;
use super::known::is_known_type;
use super::record::Record;

/// Records in one file at most.
pub const MAXIMUM_RECORDS: usize = 1_000;

/// Why a file of records is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FileError {
    /// The file is empty.
    #[error("the file holds no record")]
    Empty,
    /// The file has more than [`MAXIMUM_RECORDS`] lines.
    #[error("the file holds more than {MAXIMUM_RECORDS} records")]
    TooManyRecords,
    /// A line is a record of an unknown type.
    #[error("line {line}: unknown record type {kind}")]
    UnknownType {
        /// The line, counted from 1.
        line: usize,
        /// The record's type.
        kind: String,
    },
    /// A line isn't a record.
    #[error("line {line}: {source}")]
    Record {
        /// The line, counted from 1.
        line: usize,
        /// The record's error.
        source: RecordError,
    },
}

/// Reads a file of records.
///
/// Accepts LF for CRLF, a leading BOM and a missing last line end. Refuses any
/// other variation.
pub fn parse(file: &[u8]) -> Result<Vec<Record>, FileError> {
    let text = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    if text.is_empty() {
        return Err(FileError::Empty);
    }
    let lines = text
        .strip_suffix(b"\n")
        .unwrap_or(text)
        .split(|&byte| byte == b'\n');
    let mut records = Vec::new();
    for (index, line) in lines.enumerate() {
        if index == MAXIMUM_RECORDS {
            return Err(FileError::TooManyRecords);
        }
        records.push(parse_line(line, index + 1)?);
    }
    Ok(records)
}

/// Writes a file of records.
pub fn write(records: &[Record]) -> String {
    records
        .iter()
        .flat_map(|record| [record.text(), "\r\n"])
        .collect()
}

/// The octets that a MAC or signature over `records` covers: the text of each
/// record and a CRLF. The line ends of the file that was read do not matter.
pub fn covered_text(records: &[Record]) -> Vec<u8> {
    write(records).into_bytes()
}

fn parse_line(line: &[u8], number: usize) -> Result<Record, FileError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // Text that isn't UTF-8 gets a replacement character, which no record may hold.
    let record =
        Record::parse(&String::from_utf8_lossy(line)).map_err(|source| FileError::Record {
            line: number,
            source,
        })?;
    if is_known_type(record.kind()) {
        return Ok(record);
    }
    Err(FileError::UnknownType {
        line: number,
        kind: record.kind().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::sts::TypedRecord;
    use crate::sts::samples::{self, STANDARD_PUBLIC_KEY, STANDARD_REQUEST};

    fn standard_file() -> String {
        format!("{STANDARD_PUBLIC_KEY}\r\n{STANDARD_REQUEST}\r\n")
    }

    #[test]
    fn reads_what_it_writes_and_the_listed_variations() {
        let file = standard_file();
        let records = parse(file.as_bytes()).unwrap();
        assert_eq!(write(&records), file);
        for variation in [
            file.replace("\r\n", "\n"),
            file.trim_end().to_owned(),
            format!("\u{FEFF}{file}"),
            file.replacen("\r\n", "\n", 1),
        ] {
            let read = parse(variation.as_bytes()).unwrap();
            assert_eq!(covered_text(&read), file.as_bytes(), "{variation}");
        }
    }

    #[test]
    fn takes_nothing_else_and_names_the_line() {
        let file = standard_file();
        let (first, second) = (STANDARD_PUBLIC_KEY, STANDARD_REQUEST);
        for (changed, line) in [
            (format!("{file}\r\n"), 3),
            (format!("\r\n{file}"), 1),
            (format!("{first} \r\n{second}\r\n"), 1),
            (format!("{first}\r\r\n{second}\r\n"), 1),
            (format!("{first}\r{second}\r\n"), 1),
            (format!(" {first}\r\n"), 1),
            (format!("{first}\r\n\u{FEFF}{second}\r\n"), 2),
            (
                format!("{first}\r\n{}\r\n", second.replace("FB39", "FB38")),
                2,
            ),
            (format!("{first}\r\n{}{second}\r\n", "0".repeat(999)), 2),
        ] {
            let error = parse(changed.as_bytes()).unwrap_err();
            let FileError::Record { line: named, .. } = &error else {
                unreachable!("{error}")
            };
            assert_eq!(*named, line, "{changed:?}");
            assert!(error.to_string().starts_with(&format!("line {line}: ")));
        }
    }

    #[test]
    fn refuses_unknown_types_empty_files_and_too_many_records() {
        let unknown = Record::build("X.OTHER.1", []).unwrap();
        let error = parse(write(&[unknown]).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "line 1: unknown record type X.OTHER.1");
        assert_eq!(parse(b""), Err(FileError::Empty));
        assert_eq!(parse(b"\xEF\xBB\xBF"), Err(FileError::Empty));
        let full = format!("{STANDARD_PUBLIC_KEY}\n").repeat(MAXIMUM_RECORDS);
        assert_eq!(parse(full.as_bytes()).unwrap().len(), MAXIMUM_RECORDS);
        let over = format!("{full}{STANDARD_PUBLIC_KEY}");
        assert_eq!(parse(over.as_bytes()), Err(FileError::TooManyRecords));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(keys in prop::collection::vec(samples::vending_key(), 1..20)) {
            let records: Vec<Record> = keys.iter().map(TypedRecord::to_record).collect();
            prop_assert_eq!(parse(write(&records).as_bytes()), Ok(records));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
