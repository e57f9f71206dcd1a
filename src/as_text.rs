//! serde for types that are written as one text. `FromStr` reads it, so that the
//! error says what was expected, and `Display` writes it.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// Reads a text by `FromStr`.
///
/// # Errors
/// The value is no text, or `FromStr` refuses it.
pub(crate) fn read<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

/// Implements `Deserialize` and `Serialize` by `FromStr` and `Display`.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::as_text::read(deserializer)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

pub(crate) use as_text;
