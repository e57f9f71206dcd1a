//! Types that are written as one text: their serde, and enums of words. `FromStr`
//! reads the text, so that the error says what was expected, and `Display` writes it.

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

/// Makes an enum whose values are each written as one word. `Display` writes the
/// word, padded to the width of the format.
macro_rules! words {
    ($(#[$about:meta])* $vis:vis enum $name:ident {
        $($(#[$doc:meta])* $variant:ident = $word:literal,)+
    }) => {
        $(#[$about])*
        $vis enum $name { $($(#[$doc])* $variant,)+ }

        #[allow(dead_code, reason = "not every enum needs all of these")]
        impl $name {
            /// Every value, in the order of the definition.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word for the value.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The value that this word stands for. Case counts.
            $vis fn named(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|own| own.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use words;
