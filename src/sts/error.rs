//! Why a record is refused, in words that its sender can act on.
//!
//! An error quotes the refused text as an [`Excerpt`], which is short and
//! printable ASCII.

use std::borrow::Cow;
use std::fmt;

use super::checksum::Checksum;

/// Why a record is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The text holds no record of the expected type.
    #[error(
        "no {record} was found; it must stand between its BEGINS and ENDS lines, each at the start of a line"
    )]
    Missing {
        /// The expected type, such as `VKLOAD.REQ.1`.
        record: String,
    },
    /// The text holds more than one record of the expected type.
    #[error("{count} {record} records were found; send one in each message")]
    Multiple {
        /// The expected type, such as `VKLOAD.REQ.1`.
        record: String,
        /// Number of such records.
        count: usize,
    },
    /// The only record of the expected type is quoted with `>`.
    #[error(
        "{record} stands only in quoted lines (line {line}); send it unquoted in a new message"
    )]
    Quoted {
        /// The expected type, such as `VKLOAD.REQ.1`.
        record: String,
        /// The line of its BEGINS marker, counted from 1.
        line: usize,
    },
    /// A part of the record is refused.
    #[error("{record}: {field}: {error}")]
    Field {
        /// The type that the record states, or `record` while it is unknown.
        record: String,
        /// A field such as `SMID`, or `type`, `text`, `CRC` or `ENDS marker`.
        field: &'static str,
        /// Why the part is refused.
        error: FieldError,
    },
}

impl RecordError {
    /// The type of the record, or `record` while it is unknown.
    pub(crate) fn record(&self) -> &str {
        match self {
            Self::Missing { record }
            | Self::Multiple { record, .. }
            | Self::Quoted { record, .. }
            | Self::Field { record, .. } => record,
        }
    }
}

/// Why a field or another part of a record is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FieldError {
    /// The text doesn't match its definition.
    #[error("expected {expected}, found {found}")]
    Format {
        /// The form that the definition requires.
        expected: Cow<'static, str>,
        /// The text in its place.
        found: Excerpt,
    },
    /// The checksum of the record or of an identifier doesn't match: the text was
    /// damaged on its way.
    #[error("the checksum stated is {stated}, the text gives {computed}")]
    Crc {
        /// The checksum in the text.
        stated: Checksum,
        /// The checksum computed from the text.
        computed: Checksum,
    },
}

impl FieldError {
    pub(super) fn format(expected: impl Into<Cow<'static, str>>, found: &str) -> Self {
        Self::Format {
            expected: expected.into(),
            found: Excerpt::of(found),
        }
    }

    pub(super) fn in_field(self, record: &str, field: &'static str) -> RecordError {
        RecordError::Field {
            record: record.to_owned(),
            field,
            error: self,
        }
    }
}

/// The beginning of a text in quotes, as printable ASCII; `nothing` if it is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Excerpt(String);

impl Excerpt {
    /// Characters quoted before the text is cut.
    const LENGTH: usize = 40;

    /// An excerpt of `text`.
    pub(crate) fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self("nothing".to_owned());
        }
        let mut characters = text.chars();
        let shown: String = characters
            .by_ref()
            .take(Self::LENGTH)
            .flat_map(char::escape_default)
            .collect();
        let cut = if characters.next().is_some() {
            "..."
        } else {
            ""
        };
        Self(format!("\"{shown}{cut}\""))
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_excerpt_escapes_and_cuts() {
        assert_eq!(Excerpt::of("").to_string(), "nothing");
        assert_eq!(Excerpt::of("a\r\n\"é").to_string(), r#""a\r\n\"\u{e9}""#);
        assert_eq!(
            Excerpt::of(&"x".repeat(41)).to_string(),
            format!("\"{}...\"", "x".repeat(40))
        );
    }

    proptest! {
        #[test]
        fn an_excerpt_is_short_printable_ascii(text in any::<String>()) {
            let excerpt = Excerpt::of(&text).to_string();
            prop_assert!(excerpt.bytes().all(|byte| (0x20..0x7F).contains(&byte)));
            prop_assert!(excerpt.len() <= 10 * Excerpt::LENGTH + 5);
        }
    }
}
