//! Writes and reads the value of the `X-Gateway-Result` field (STS600-9-2
//! 8.3.2), a list separated by HTABs.

use thiserror::Error;

use super::outcome::Outcome;

/// The name of the field in the header of a reply.
pub const NAME: &str = "X-Gateway-Result";

/// Octets of an element at most.
const MAX_ELEMENT: usize = 600;
/// Octets of a line at most. Only a longer field is folded, as some readers
/// turn a fold into a blank.
const MAX_LINE: usize = 900;
/// Stands for an element that would be empty.
const NOTHING: &str = "-";

/// The elements as they are sent: printable ASCII, bounded, none empty.
#[must_use]
pub fn elements(outcome: &Outcome) -> Vec<String> {
    std::iter::once(outcome.kind())
        .chain(outcome.code())
        .chain([outcome.text()])
        .chain(outcome.parameters().iter().map(String::as_str))
        .map(element)
        .collect()
}

/// The value of the field. If it is too long for one line it is folded at its
/// HTABs, so that unfolding (RFC 5322 2.2.3) gives the exact list.
#[must_use]
pub fn write(outcome: &Outcome) -> String {
    let elements = elements(outcome);
    let value = elements.join("\t");
    if NAME.len() + 2 + value.len() <= MAX_LINE {
        return value;
    }
    let mut folded = String::with_capacity(value.len() + 16);
    let mut column = NAME.len() + 2;
    for (number, element) in elements.iter().enumerate() {
        if number > 0 {
            if column + 1 + element.len() > MAX_LINE {
                folded.push_str("\r\n");
                column = 0;
            }
            folded.push('\t');
            column += 1;
        }
        folded.push_str(element);
        column += element.len();
    }
    folded
}

/// Why a value is no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The first element is neither Success, Error nor Notice.
    #[error("the result begins with {0:?}, not with Success, Error or Notice")]
    Kind(String),
    /// An element that the kind requires is missing.
    #[error("the result has {found} elements, but {kind} has at least {required}")]
    TooFew {
        /// The first element.
        kind: String,
        /// Number of elements that the kind requires.
        required: usize,
        /// Number of elements in the value.
        found: usize,
    },
}

/// The elements of an unfolded value.
///
/// # Errors
/// Fails unless the list is one of the standard's three.
pub fn read(unfolded: &str) -> Result<Vec<String>, ReadError> {
    let value = unfolded.trim_start_matches(' ');
    let elements: Vec<String> = value.split('\t').map(str::to_owned).collect();
    let kind = elements.first().map(String::as_str).unwrap_or_default();
    let required = match kind {
        "Success" => 2,
        "Error" | "Notice" => 3,
        other => return Err(ReadError::Kind(other.to_owned())),
    };
    if elements.len() < required {
        return Err(ReadError::TooFew {
            kind: kind.to_owned(),
            required,
            found: elements.len(),
        });
    }
    Ok(elements)
}

/// A text as an element. `=?` is split, as a reader could take it for the start
/// of an encoded word.
fn element(text: &str) -> String {
    let printable: String = text
        .chars()
        .map(|c| match c {
            ' '..='~' => c,
            c if c.is_control() || c.is_whitespace() => ' ',
            _ => '?',
        })
        .collect();
    let mut element = printable.trim().replace("=?", "= ?");
    element.truncate(MAX_ELEMENT);
    element.truncate(element.trim_end().len());
    if element.is_empty() {
        element.push_str(NOTHING);
    }
    element
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::super::result_code::{ErrorCode, NoticeCode};
    use super::*;

    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(
            write(&Outcome::success()),
            "Success\tThe operation completed successfully"
        );
        assert_eq!(
            write(&Outcome::error(ErrorCode::VkloadExpired)),
            "Error\tEVkloadExpired\tThe VKLOADREQ is stale; generate a fresh VKLOADREQ and try again"
        );
        assert_eq!(
            write(&Outcome::notice(NoticeCode::Deferred)),
            "Notice\tDeferred\tOperation failed but will be retried; you don't need to do anything"
        );
    }

    #[test]
    fn parameters_follow_in_order() {
        let outcome = Outcome::error(ErrorCode::VkloadFuture)
            .with_parameter("20260102T030405Z")
            .with_parameter("");
        let elements = elements(&outcome);
        assert_eq!(elements[3..], ["20260102T030405Z", "-"]);
    }

    #[test]
    fn nothing_that_ends_a_field_or_an_element_gets_in() {
        let summary = "a\r\nBcc: x\tb\u{85}c\u{2028}d é =?utf-8?q?x?= ".to_owned();
        assert_eq!(
            write(&Outcome::Success { summary }),
            "Success\ta  Bcc: x b c d ? = ?utf-8?q?x?="
        );
    }

    #[test]
    fn a_long_result_is_folded_at_its_tabs_only() {
        let mut outcome = Outcome::error(ErrorCode::RecordFormat);
        for letter in ["a", "b c ", "d"] {
            outcome = outcome.with_parameter(letter.repeat(700));
        }
        let value = write(&outcome);
        let lines: Vec<&str> = value.split("\r\n").collect();
        assert!(lines.len() > 1);
        assert!(lines[1..].iter().all(|line| line.starts_with('\t')));
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
        assert_eq!(
            read(&value.replace("\r\n", "")).unwrap(),
            elements(&outcome)
        );
    }

    #[test]
    fn what_is_no_result_is_refused() {
        assert_eq!(read(""), Err(ReadError::Kind(String::new())));
        assert_eq!(read("success\tx"), Err(ReadError::Kind("success".into())));
        assert!(matches!(
            read("Error\tEServiceFailed"),
            Err(ReadError::TooFew {
                required: 3,
                found: 2,
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn any_outcome_reads_back(
            summary in "\\PC{0,900}|[\\x00-\\x20=?é]{0,40}",
            parameters in prop::collection::vec("\\PC{0,900}|[ -~]{0,900}", 0..6),
        ) {
            let outcome = Outcome::Error {
                code: ErrorCode::ServiceFailed, description: summary, parameters,
            };
            let value = write(&outcome);
            prop_assert!(value.split("\r\n").all(|line| line.len() <= MAX_LINE));
            prop_assert_eq!(read(&value.replace("\r\n", "")).unwrap(), elements(&outcome));
        }

        #[test]
        fn any_value_is_survived(value in "\\PC*|(Error|Success|\t| )*") {
            let _ = read(&value);
        }
    }
}
