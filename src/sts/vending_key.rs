//! The attributes of a vending key.
//!
//! The STS Association defines the field names. This project's profile defines
//! their order in `X.VK.1`.

use std::fmt;
use std::str::FromStr;

use super::error::{FieldError, RecordError};
use super::fields::Fields;
use super::hexadecimal::Hex;
use super::number::{Decimal, Digit};
use super::time::StsTime;
use crate::as_text::words;

/// A vending key's attributes, in the order of `X.VK.1`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VendingKeyAttributes {
    /// Supply group code.
    pub sgc: Sgc,
    /// Key revision number.
    pub krn: Krn,
    /// Key type.
    pub kt: KeyType,
    /// Key expiry number.
    pub ken: u8,
    /// Base date.
    pub bdt: BaseDate,
    /// Decoder key generation algorithm.
    pub dkga: Dkga,
    /// When the key becomes active.
    pub act: StsTime,
    /// Tokens may be issued under the key until this time.
    pub iut: Option<StsTime>,
    /// Upper limit.
    pub ulm: u32,
    /// Credit limit.
    pub clm: u32,
}

impl VendingKeyAttributes {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            sgc: fields.take("SGC")?,
            krn: fields.take("KRN")?,
            kt: fields.take("KT")?,
            ken: fields.take::<Decimal<u8>>("KEN")?.0,
            bdt: fields.take("BDT")?,
            dkga: fields.take("DKGA")?,
            act: fields.take("ACT")?,
            iut: fields.take_optional("IUT")?,
            ulm: u32::from_be_bytes(fields.take::<Hex<4>>("ULM")?.0),
            clm: u32::from_be_bytes(fields.take::<Hex<4>>("CLM")?.0),
        })
    }

    pub(super) fn to_fields(&self) -> [String; 10] {
        [
            self.sgc.to_string(),
            self.krn.to_string(),
            self.kt.to_string(),
            self.ken.to_string(),
            self.bdt.to_string(),
            self.dkga.to_string(),
            self.act.to_string(),
            self.iut.map(|time| time.to_string()).unwrap_or_default(),
            Hex(self.ulm.to_be_bytes()).to_string(),
            Hex(self.clm.to_be_bytes()).to_string(),
        ]
    }
}

/// Supply group code: six digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sgc([u8; 6]);

impl Sgc {
    /// The six ASCII digits.
    pub(crate) fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }

    /// The six digits.
    pub(crate) fn as_str(&self) -> &str {
        // Cannot fail: all six are ASCII digits.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Sgc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for Sgc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Sgc {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let digits = <[u8; 6]>::try_from(text.as_bytes()).ok();
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit));
        digits
            .map(Self)
            .ok_or_else(|| FieldError::format("6 digits", text))
    }
}

/// Key revision number, 1 to 9.
pub(crate) type Krn = Digit<1, 9>;

/// Key type, 0 to 3.
pub(crate) type KeyType = Digit<0, 3>;

words! {
    /// Base date, from which token identifiers are counted: its year.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum BaseDate {
        /// 1 January 1993.
        Y1993 = "1993",
        /// 1 January 2014.
        Y2014 = "2014",
        /// 1 January 2035.
        Y2035 = "2035",
    }
}

impl FromStr for BaseDate {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::named(text).ok_or_else(|| FieldError::format("1993, 2014 or 2035", text))
    }
}

words! {
    /// Decoder key generation algorithm (IEC 62055-41). It sets the length of the
    /// vending key.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Dkga {
        /// 01: 8 bytes.
        D01 = "01",
        /// 02: 8 bytes.
        D02 = "02",
        /// 04: 20 bytes.
        D04 = "04",
    }
}

impl Dkga {
    /// The length of a vending key in bytes.
    pub(crate) fn key_length(self) -> usize {
        match self {
            Self::D01 | Self::D02 => 8,
            Self::D04 => 20,
        }
    }
}

impl FromStr for Dkga {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        Self::named(text).ok_or_else(|| FieldError::format("01, 02 or 04", text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_supply_group_code_is_six_digits() {
        let sgc: Sgc = "000439".parse().unwrap();
        assert_eq!((sgc.as_str(), sgc.as_bytes()), ("000439", b"000439"));
        for text in ["", "00439", "0000439", "00043A", "+00439", " 00439", "００"] {
            assert!(text.parse::<Sgc>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn base_dates_and_algorithms_are_the_listed_ones() {
        assert!(
            ["93", "1994", " 1993", ""]
                .iter()
                .all(|text| text.parse::<BaseDate>().is_err())
        );
        assert!(
            ["1", "03", "4", "044", ""]
                .iter()
                .all(|text| text.parse::<Dkga>().is_err())
        );
        assert_eq!("04".parse::<Dkga>().unwrap().key_length(), 20);
    }
}
