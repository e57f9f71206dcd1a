//! One record: fields of printable ASCII joined by `|`, then a checksum.

use std::fmt;
use std::iter;

use super::checksum::{Checksum, split_covered};
use super::error::{FieldError, RecordError};
use super::hexadecimal;

/// Characters of a record at most: one line of mail (RFC 5322, 2.1.1).
pub const MAXIMUM_LENGTH: usize = 998;

/// Characters of a record type at most.
pub(super) const MAXIMUM_TYPE_LENGTH: usize = 40;

/// Stands for the type in an error while the type is unknown.
const UNTYPED: &str = "record";

/// One record whose text is well formed and whose checksum is right.
///
/// The first field is the type with its version (`VKLOAD.REQ.1`). The last is
/// the CRC over all before it. A [`TypedRecord`] gives the fields between them
/// a meaning.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Record {
    text: String,
}

impl Record {
    /// Reads `text` as one record.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let kind = text
            .split('|')
            .next()
            .filter(|kind| is_record_type(kind))
            .unwrap_or(UNTYPED);
        check_text(text).map_err(|error| error.in_field(kind, "text"))?;
        let shape = || FieldError::format("a type, its fields and a CRC, joined by |", text);
        let (covered, stated) =
            split_covered(text, '|').ok_or_else(|| shape().in_field(kind, "text"))?;
        if kind == UNTYPED {
            return Err(wrong_type(text));
        }
        hexadecimal::check(covered, stated).map_err(|error| error.in_field(kind, "CRC"))?;
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// Builds the record of `kind` with `fields`, adding the CRC.
    pub fn build(
        kind: &str,
        fields: impl IntoIterator<Item = String>,
    ) -> Result<Self, RecordError> {
        if !is_record_type(kind) {
            return Err(wrong_type(kind));
        }
        let fields: Vec<String> = fields.into_iter().collect();
        if let Some(field) = fields.iter().find(|field| field.contains('|')) {
            return Err(FieldError::format("no |", field).in_field(kind, "field"));
        }
        let record = Self::of_checked_fields(kind, &fields);
        check_text(&record.text).map_err(|error| error.in_field(kind, "text"))?;
        Ok(record)
    }

    /// Builds a record without the checks of [`Record::build`]. The types of
    /// the fields guarantee them.
    pub(super) fn of_checked_fields(kind: &str, fields: &[String]) -> Self {
        let mut text = covered_text(kind, fields);
        text.push_str(&Checksum::of(&text).to_string());
        Self { text }
    }

    /// The whole text, CRC included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The record's type with its version.
    pub fn kind(&self) -> &str {
        self.text.split('|').next().unwrap_or_default()
    }

    /// The fields between the type and the CRC.
    pub fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<&str> = self.text.split('|').skip(1).collect();
        fields.pop();
        fields
    }

    /// The text up to and including the `|` before the field of `index`, as
    /// [`Record::fields`] counts them. This is what a MAC in that field covers.
    pub(crate) fn text_before_field(&self, index: usize) -> Option<&str> {
        let (separator, _) = self.text.match_indices('|').nth(index)?;
        self.text.get(..=separator)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A record of a known type, with typed fields.
///
/// Each value has one text, so reading undoes writing and writing undoes reading.
pub trait TypedRecord: Sized {
    /// The record's type with its version.
    const TYPE: &'static str;

    /// Reads the fields of `record`.
    fn from_record(record: &Record) -> Result<Self, RecordError>;

    /// Writes the record.
    fn to_record(&self) -> Record;
}

/// `kind` and `fields`, each with a `|` behind it. A checksum or MAC in the
/// next field covers this text.
fn covered_text(kind: &str, fields: &[String]) -> String {
    iter::once(kind)
        .chain(fields.iter().map(String::as_str))
        .flat_map(|part| [part, "|"])
        .collect()
}

/// Whether `text` is a record type: upper-case words joined by dots, a version
/// number last.
pub(super) fn is_record_type(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    let begins_well = text.starts_with(|first: char| first.is_ascii_uppercase());
    let version = text.rsplit_once('.').map(|(_, version)| version);
    begins_well
        && text.len() <= MAXIMUM_TYPE_LENGTH
        && text.split('.').all(word)
        && version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
}

fn check_text(text: &str) -> Result<(), FieldError> {
    if text.len() > MAXIMUM_LENGTH {
        return Err(FieldError::format(
            format!("at most {MAXIMUM_LENGTH} characters"),
            text,
        ));
    }
    match text
        .chars()
        .find(|character| !matches!(character, ' '..='~'))
    {
        Some(other) => Err(FieldError::format(
            "printable ASCII",
            other.encode_utf8(&mut [0; 4]),
        )),
        None => Ok(()),
    }
}

fn wrong_type(text: &str) -> RecordError {
    let found = text.split('|').next().unwrap_or_default();
    FieldError::format("upper-case words and a version, joined by dots", found)
        .in_field(UNTYPED, "type")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::sts::samples::STANDARD_REQUEST;

    fn summed(covered: &str) -> String {
        format!("{covered}{}", Checksum::of(covered))
    }

    #[test]
    fn gives_its_parts() {
        let record = Record::build("A.B.1", ["x".into(), String::new(), "y z".into()]).unwrap();
        assert_eq!(record.kind(), "A.B.1");
        assert_eq!(record.fields(), ["x", "", "y z"]);
        assert_eq!(record.text_before_field(0), Some("A.B.1|"));
        assert_eq!(record.text_before_field(2), Some("A.B.1|x||"));
        assert_eq!(record.text_before_field(3), Some("A.B.1|x||y z|"));
        assert_eq!(record.text_before_field(4), None);
        assert_eq!(record.text(), summed("A.B.1|x||y z|"));
    }

    #[test]
    fn may_have_no_fields() {
        let record = Record::parse(&summed("A.1|")).unwrap();
        assert_eq!(record.fields(), [""; 0]);
    }

    #[test]
    fn a_wrong_checksum_gives_both() {
        let damaged = STANDARD_REQUEST.replace("FB39", "FB3A");
        let message = Record::parse(&damaged).unwrap_err().to_string();
        assert_eq!(
            message,
            "VKLOAD.REQ.1: CRC: the checksum stated is FB3A, the text gives FB39"
        );
    }

    #[test]
    fn refuses_what_is_no_record() {
        for (text, field) in [
            (String::new(), "text"),
            ("A.1".into(), "text"),
            (summed("A.1|\n|"), "text"),
            (summed("A.1|\u{7F}|"), "text"),
            (summed("A.1|é|"), "text"),
            (summed(&format!("A.1|{}|", "x".repeat(990))), "text"),
            (summed("|"), "type"),
            (summed("A|"), "type"),
            (summed("a.1|"), "type"),
            (summed("1.1|"), "type"),
            (summed("A..1|"), "type"),
            (summed("A.1 |"), "type"),
            (summed(" A.1|"), "type"),
            (format!("{} ", summed("A.1|")), "CRC"),
            ("A.1|".into(), "CRC"),
        ] {
            let error = Record::parse(&text).unwrap_err();
            let RecordError::Field {
                field: named,
                error: FieldError::Format { .. },
                ..
            } = &error
            else {
                unreachable!("{error}")
            };
            assert_eq!(*named, field, "{text:?}");
        }
    }

    #[test]
    fn builds_no_record_that_it_would_not_read() {
        for (kind, field) in [
            ("A.1", "x|y"),
            ("A.1", "é"),
            ("A.1", "\n"),
            ("A", "x"),
            ("A.1|B", "x"),
            ("", ""),
        ] {
            assert!(
                Record::build(kind, [field.to_owned()]).is_err(),
                "{kind:?} {field:?}"
            );
        }
        assert!(Record::build("A.1", ["x".repeat(MAXIMUM_LENGTH)]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Record::parse(&text);
            let _ = Record::parse(&summed(&format!("A.1|{text}|")));
        }

        #[test]
        fn what_is_built_is_read(fields in prop::collection::vec("[ -{}~]{0,30}", 0..10)) {
            let record = Record::build("A.1", fields.clone()).unwrap();
            prop_assert_eq!(record.fields(), fields);
            prop_assert_eq!(Record::parse(record.text()), Ok(record));
        }
    }
}
