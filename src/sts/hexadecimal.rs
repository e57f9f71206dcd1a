//! Binary fields: upper-case hex of an exact length.

use std::fmt;
use std::str::FromStr;

use super::checksum::Checksum;
use super::error::FieldError;

/// `N` bytes as `2 * N` upper-case hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hex<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode_upper(self.0))
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let mut bytes = [0; N];
        if !is_upper_case_hex(text) || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(FieldError::format(
                format!("{} upper-case hex digits", 2 * N),
                text,
            ));
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Checksum {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let Hex(bytes) = text.parse()?;
        Ok(Self(u16::from_be_bytes(bytes)))
    }
}

/// Checks that `covered` has the checksum that `stated` spells.
pub(super) fn check(covered: &str, stated: &str) -> Result<(), FieldError> {
    let (stated, computed) = (stated.parse()?, Checksum::of(covered));
    match stated == computed {
        true => Ok(()),
        false => Err(FieldError::Crc { stated, computed }),
    }
}

/// Whether `text` has only the digits `0`-`9` and `A`-`F`.
pub(super) fn is_upper_case_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn has_one_spelling() {
        assert_eq!("00FF".parse::<Hex<2>>().unwrap(), Hex([0x00, 0xFF]));
        assert_eq!(Hex([0x0A, 0xBC]).to_string(), "0ABC");
        for text in ["00ff", "0FF", "0000FF", "0x00FF", "00F ", "00Fé", ""] {
            assert!(text.parse::<Hex<2>>().is_err(), "{text:?}");
        }
    }
}
