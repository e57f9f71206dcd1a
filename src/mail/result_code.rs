//! The result codes. The table is in `codes`. The header, replies, help text and
//! documentation are made from it.

/// Makes the enums of codes, and the table, from one list.
macro_rules! result_codes {
    ($($(#[$about:meta])* $name:ident, $kind:ident {
        $($variant:ident = $code:literal, $concern:ident {
            meaning: $meaning:literal,
            cause: $cause:literal,
            remedy: $remedy:literal,
            parameters: $parameters:literal,
        })+
    })+) => {
        /// Every code, errors first.
        pub const RESULT_CODES: &[ResultCode] = &[$($($name::$variant.row(),)+)+];

        $(
            $(#[$about])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub enum $name { $(#[doc = $meaning] $variant,)+ }

            impl $name {
                /// Every code of this kind.
                pub const ALL: &[$name] = &[$($name::$variant,)+];

                /// The code's row of the table.
                pub(crate) const fn row(self) -> ResultCode {
                    match self {
                        $($name::$variant => ResultCode {
                            code: $code,
                            kind: CodeKind::$kind,
                            concern: Concern::$concern,
                            meaning: $meaning,
                            cause: $cause,
                            remedy: $remedy,
                            parameters: $parameters,
                        },)+
                    }
                }

                /// The code in `X-Gateway-Result`.
                pub(crate) const fn as_str(self) -> &'static str {
                    self.row().code
                }

                /// The text for the requester: what happened, and how to proceed.
                pub(crate) fn description(self) -> String {
                    self.row().description()
                }
            }

            impl Display for $name {
                fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                    f.write_str(self.as_str())
                }
            }
        )+
    };
}

mod codes;
mod row;

pub use codes::{ErrorCode, NoticeCode, RESULT_CODES};
pub(crate) use row::ResultCode;
pub use row::{CodeKind, Concern};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_shaped_by_their_kind() {
        let mut seen = HashSet::new();
        for row in RESULT_CODES {
            assert!(seen.insert(row.code), "{}", row.code);
            assert!(
                row.code.chars().all(|c| c.is_ascii_alphanumeric()),
                "{}",
                row.code
            );
            assert_eq!(
                row.kind == CodeKind::Error,
                row.code.starts_with('E'),
                "{}",
                row.code
            );
        }
    }

    #[test]
    fn descriptions_fit_an_element_of_the_result() {
        for row in RESULT_CODES {
            let description = row.description();
            assert!(
                description.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{}",
                row.code
            );
            assert!(
                description.len() <= 600 && !description.ends_with('.'),
                "{}",
                row.code
            );
        }
    }

    #[test]
    fn people_read_sentences_in_plain_ascii() {
        for row in RESULT_CODES {
            for text in [row.meaning, row.cause, row.remedy] {
                assert!(
                    !text.is_empty() && !text.ends_with('.'),
                    "{}: {text}",
                    row.code
                );
            }
            for text in [row.meaning, row.cause, row.remedy, row.parameters] {
                // A bar would end a cell of the table in the documentation.
                let plain = |byte| matches!(byte, b' '..=b'~') && byte != b'|';
                assert!(text.bytes().all(plain), "{}: {text}", row.code);
                assert!(!text.contains("  "), "{}: {text}", row.code);
            }
        }
    }

    #[test]
    fn every_concern_has_codes_and_notices_one_of_their_own() {
        for concern in Concern::ALL {
            let rows: Vec<_> = RESULT_CODES
                .iter()
                .filter(|row| row.concern == concern)
                .collect();
            assert!(!rows.is_empty(), "{concern:?}");
            for row in rows {
                let is_notice = row.kind == CodeKind::Notice;
                assert_eq!(is_notice, concern == Concern::Waiting, "{}", row.code);
            }
        }
    }

    #[test]
    fn the_words_of_the_standard() {
        assert_eq!(
            ErrorCode::VkloadExpired.description(),
            "The VKLOADREQ is stale; generate a fresh VKLOADREQ and try again"
        );
        assert_eq!(
            NoticeCode::Deferred.description(),
            "Operation failed but will be retried; you don't need to do anything"
        );
    }

    #[test]
    fn names_lead_back_to_codes() {
        for code in ErrorCode::ALL {
            let mut rows = RESULT_CODES.iter();
            assert_eq!(
                rows.find(|row| row.code == code.as_str()),
                Some(&code.row())
            );
        }
    }
}
