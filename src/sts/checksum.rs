//! The CRC that ends a record and an identifier.

use std::fmt;

use crc::{CRC_16_MODBUS, Crc};

const ALGORITHM: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// A CRC-16/MODBUS, written as four upper-case hex digits.
///
/// It covers the text up to and including the separator before it: `|` in a
/// record, `:` in an identifier. STS600-9-2 doesn't name the algorithm; this
/// one gives the checksums of its examples (5.1.3.5 and 5.1.4.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Checksum(pub(super) u16);

impl Checksum {
    /// The checksum of `text`.
    pub fn of(text: &str) -> Self {
        Self(ALGORITHM.checksum(text.as_bytes()))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04X}", self.0)
    }
}

/// Splits `text` behind its last `separator` into the covered text and the checksum.
pub(super) fn split_covered(text: &str, separator: char) -> Option<(&str, &str)> {
    let end = text.rfind(separator)? + separator.len_utf8();
    text.split_at_checked(end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn is_crc_16_modbus() {
        // The catalogue's check value.
        assert_eq!(Checksum::of("123456789").to_string(), "4B37");
    }

    #[test]
    fn reproduces_the_identifiers_of_the_standard() {
        for (text, stated) in [
            (
                "KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:",
                "6850",
            ),
            (
                "SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB47EA:",
                "2642",
            ),
        ] {
            assert_eq!(Checksum::of(text), stated.parse().unwrap());
        }
    }

    #[test]
    fn has_one_spelling() {
        for text in ["4b37", "B37", "04B37", "4B3G", " 4B37", "+B37", ""] {
            assert!(text.parse::<Checksum>().is_err(), "{text:?}");
        }
    }
}
