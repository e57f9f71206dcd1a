//! The text of a public key.

use std::fmt;
use std::str::FromStr;

use super::error::FieldError;
use super::hexadecimal::is_upper_case_hex;

/// Bytes of the longest point, one of P-521, SEC1 uncompressed.
const MAXIMUM_BYTES: usize = 133;

/// A public key as it stands in a record: upper-case hex of whole bytes.
///
/// It need not be a point of a curve: the code that computes with the key checks that.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PointText(String);

impl PointText {
    /// The text of `bytes`. Fails unless there are 1 to 133 of them.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FieldError> {
        hex::encode_upper(bytes).parse()
    }

    /// The hex digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PointText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for PointText {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let whole_bytes = !text.is_empty() && text.len().is_multiple_of(2);
        if whole_bytes && text.len() <= 2 * MAXIMUM_BYTES && is_upper_case_hex(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(FieldError::format(
            "upper-case hex digits of 1 to 133 bytes",
            text,
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn has_one_spelling() {
        let point = PointText::from_bytes(&[0x04, 0xAB]).unwrap();
        assert_eq!(point.as_str(), "04AB");
        for text in ["", "04a", "04ab", "4AB", "04 AB", "04AG", &"04".repeat(134)] {
            assert!(text.parse::<PointText>().is_err(), "{text:?}");
        }
    }
}
