//! Why a record is refused, in words that its sender can act on.
//!
//! What a message quotes of the refused text is an [`Excerpt`]: bounded,
//! printable ASCII, whatever the sender wrote.

use std::borrow::Cow;
use std::fmt;

use super::checksum::Checksum;

/// Why a record is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The text holds no record of the type that was looked for.
    #[error(
        "no {record} was found; it must stand between its BEGINS and ENDS lines, each at the start of a line"
    )]
    Missing {
        /// The type that was looked for.
        record: String,
    },
    /// The text holds more than one record of the type that was looked for.
    #[error("{count} of {record} were found; send one in each message")]
    Multiple {
        /// The type that was looked for.
        record: String,
        /// How many there are.
        count: usize,
    },
    /// The only record of the type stands in lines quoted with `>`.
    #[error(
        "{record} stands only in quoted lines (line {line}); send it unquoted in a new message"
    )]
    Quoted {
        /// The type that was looked for.
        record: String,
        /// The line it begins on, counted from 1.
        line: usize,
    },
    /// A part of the record isn't what its definition asks for.
    #[error("{record}: {field}: expected {expected}, found {found}")]
    Format {
        /// The record's type.
        record: String,
        /// The field, or the part of the record.
        field: &'static str,
        /// What the definition asks for.
        expected: Cow<'static, str>,
        /// What stands there.
        found: Excerpt,
    },
    /// A checksum doesn't match: the text was damaged on its way.
    #[error("{record}: {field}: the checksum stated is {stated}, the text gives {computed}")]
    Crc {
        /// The record's type.
        record: String,
        /// `CRC` for the record's own, else the identifier whose checksum it is.
        field: &'static str,
        /// The checksum that the text states.
        stated: Checksum,
        /// The checksum that the text gives.
        computed: Checksum,
    },
}

impl RecordError {
    /// The type of the record; `record` if it has none.
    pub fn record(&self) -> &str {
        match self {
            Self::Missing { record }
            | Self::Multiple { record, .. }
            | Self::Quoted { record, .. }
            | Self::Format { record, .. }
            | Self::Crc { record, .. } => record,
        }
    }
}

/// Why the text of one field is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FieldError {
    /// It isn't of its grammar.
    #[error("expected {expected}, found {found}")]
    Format {
        /// What the grammar asks for.
        expected: Cow<'static, str>,
        /// What stands there.
        found: Excerpt,
    },
    /// An identifier's own checksum doesn't match.
    #[error("the checksum stated is {stated}, the text gives {computed}")]
    Crc {
        /// The checksum that the text states.
        stated: Checksum,
        /// The checksum that the text gives.
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
        let record = record.to_owned();
        match self {
            Self::Format { expected, found } => RecordError::Format {
                record,
                field,
                expected,
                found,
            },
            Self::Crc { stated, computed } => RecordError::Crc {
                record,
                field,
                stated,
                computed,
            },
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
    pub fn of(text: &str) -> Self {
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
