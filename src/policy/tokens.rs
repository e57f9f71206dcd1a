//! The words and specials of a structured field (RFC 5322 3.2): comments and
//! blanks fall away, quoted strings lose their quotes. Knows no field's meaning.

use std::borrow::Cow;

use crate::mail::lexer::{self, Kind, Lexer, Syntax, is_blank_or_control};

/// A token of a structured field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An atom, dots included, or the content of a quoted string.
    Word(Cow<'a, str>),
    /// One of the specials that separate words.
    Special(char),
}

/// RFC 5322 3.2.3 without the dot, so that a dot-atom is one word.
const SYNTAX: Syntax = Syntax {
    is_blank: is_blank_or_control,
    is_special: |c| {
        matches!(
            c,
            ')' | '<' | '>' | '[' | ']' | ':' | ';' | '@' | '\\' | ','
        )
    },
    enclosing: None,
};

/// The tokens of an unfolded value. A comment or a quoted string that is not
/// closed ends with the value.
pub(super) fn tokens(value: &str) -> impl Iterator<Item = Token<'_>> {
    Lexer::new(value, SYNTAX).filter_map(|token| match token.kind {
        Kind::Blank | Kind::Comment => None,
        Kind::Quoted => Some(Token::Word(lexer::unquoted(token.text).into())),
        Kind::Special => token.text.chars().next().map(Token::Special),
        Kind::Atom | Kind::Enclosed => Some(Token::Word(token.text.into())),
    })
}

/// The words of an unfolded value, in order.
pub(super) fn words(value: &str) -> impl Iterator<Item = Cow<'_, str>> {
    tokens(value).filter_map(|token| match token {
        Token::Word(word) => Some(word),
        Token::Special(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words_of(text: &str) -> Vec<String> {
        words(text).map(Cow::into_owned).collect()
    }

    #[test]
    fn comments_and_blanks_fall_away() {
        for (text, expected) in [
            (" auto-generated (failure)", vec!["auto-generated"]),
            ("(a (nested \\) one) b) no", vec!["no"]),
            ("auto(x)-replied", vec!["auto", "-replied"]),
            ("\tBulk\t", vec!["Bulk"]),
            (
                "auto-replied; owner-email=\"a@b\"",
                vec!["auto-replied", "owner-email=", "a@b"],
            ),
            ("", vec![]),
            ("(left open no", vec![]),
            ("\"left open", vec!["left open"]),
            ("\"a \\\" b\"", vec!["a \" b"]),
        ] {
            assert_eq!(words_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn specials_part_words() {
        let tokens: Vec<_> = super::tokens("A <b.c@d>,").collect();
        let word = |text: &'static str| Token::Word(Cow::Borrowed(text));
        assert_eq!(
            tokens,
            [
                word("A"),
                Token::Special('<'),
                word("b.c"),
                Token::Special('@'),
                word("d"),
                Token::Special('>'),
                Token::Special(','),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in any::<String>()) {
            let length: usize = words(&text).map(|word| word.len()).sum();
            prop_assert!(length <= text.len());
        }
    }
}
