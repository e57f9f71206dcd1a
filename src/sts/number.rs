//! Decimal fields: `0` or digits without a leading zero, no sign.

use std::fmt;
use std::str::FromStr;

use super::error::FieldError;

/// A decimal number in its one spelling.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Decimal<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Decimal<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Decimal<u8> {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        parse(text, "a number from 0 to 255").map(Self)
    }
}

impl FromStr for Decimal<u32> {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        parse(text, "a number from 0 to 4294967295").map(Self)
    }
}

fn parse<T: FromStr>(text: &str, expected: &'static str) -> Result<T, FieldError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    let number = text.parse().ok().filter(|_| digits && shortest);
    number.ok_or_else(|| FieldError::format(expected, text))
}

/// One decimal digit from `FIRST` to `LAST`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digit<const FIRST: u8, const LAST: u8>(u8);

impl<const FIRST: u8, const LAST: u8> Digit<FIRST, LAST> {
    /// The digit `value`, if it lies within the bounds.
    pub(crate) fn new(value: u8) -> Option<Self> {
        (FIRST..=LAST).contains(&value).then_some(Self(value))
    }

    /// The digit's value.
    pub(crate) fn get(self) -> u8 {
        self.0
    }
}

impl<const FIRST: u8, const LAST: u8> fmt::Display for Digit<FIRST, LAST> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<const FIRST: u8, const LAST: u8> FromStr for Digit<FIRST, LAST> {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let refused = || FieldError::format(format!("a digit from {FIRST} to {LAST}"), text);
        let value = parse(text, "").map_err(|_| refused())?;
        Self::new(value).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn decimals_have_one_spelling() {
        assert_eq!("0".parse(), Ok(Decimal(0_u8)));
        assert_eq!("255".parse(), Ok(Decimal(255_u8)));
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "256", "1.0", "٣"] {
            assert!(text.parse::<Decimal<u8>>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn digits_keep_their_bounds() {
        assert_eq!("9".parse::<Digit<1, 9>>().unwrap().get(), 9);
        for text in ["0", "10", "01", "", "x"] {
            assert!(text.parse::<Digit<1, 9>>().is_err(), "{text:?}");
        }
        assert_eq!(Digit::<0, 3>::new(4), None);
    }
}
