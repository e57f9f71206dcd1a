//! IDENT: the names inside records.

use std::fmt;
use std::str::FromStr;

use super::error::FieldError;

const MAXIMUM_LENGTH: usize = 40;

/// An issuer, a name, a hardware id or a firmware id: 1 to 40 characters, the
/// first of `[A-Za-z0-9]`, the others of `[A-Za-z0-9_.,-]`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Ident(String);

impl fmt::Display for Ident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Ident {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"_.,-".contains(&byte);
        let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if begins_well && text.len() <= MAXIMUM_LENGTH && text.bytes().all(alphabet) {
            return Ok(Self(text.to_owned()));
        }
        Err(FieldError::format(
            "1 to 40 letters, digits or _ . , - that begin with a letter or digit",
            text,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_alphabet_and_nothing_else() {
        for text in ["P", "Prism-TSM250-1", "9_.,-", &"a".repeat(40)] {
            assert!(text.parse::<Ident>().is_ok(), "{text:?}");
        }
        for text in [
            "",
            "-a",
            ".a",
            "a b",
            "a:b",
            "a|b",
            "é",
            "aé",
            "a\n",
            &"a".repeat(41),
        ] {
            assert!(text.parse::<Ident>().is_err(), "{text:?}");
        }
    }
}
