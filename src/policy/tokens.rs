//! Reads the value of a structured field as RFC 5322 3.2 tokens: comments and
//! blanks fall away, quoted strings lose their quotes. Knows no field's meaning.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;

/// A token of a structured field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An atom, dots included, or what a quoted string holds.
    Word(Cow<'a, str>),
    /// One of the specials that part words.
    Special(char),
}

/// The tokens of an unfolded value. Whatever is left open, a comment or a
/// quoted string, ends with the value.
pub(super) struct Tokens<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Tokens<'a> {
    /// Reads an unfolded value.
    pub(super) fn of(text: &'a str) -> Self {
        Tokens {
            text,
            chars: text.char_indices().peekable(),
        }
    }

    fn skip_comment(&mut self) {
        let mut depth = 1_usize;
        while let Some((_, c)) = self.chars.next() {
            match c {
                '\\' => _ = self.chars.next(),
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => (),
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn quoted_string(&mut self) -> String {
        let mut content = String::new();
        while let Some((_, c)) = self.chars.next() {
            match c {
                '"' => break,
                '\\' => content.extend(self.chars.next().map(|(_, escaped)| escaped)),
                _ => content.push(c),
            }
        }
        content
    }

    fn atom(&mut self, start: usize) -> &'a str {
        while self.chars.next_if(|&(_, c)| is_word(c)).is_some() {}
        let end = self.chars.peek().map_or(self.text.len(), |&(at, _)| at);
        self.text.get(start..end).unwrap_or_default()
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (at, c) = self.chars.next()?;
            match c {
                '(' => self.skip_comment(),
                '"' => return Some(Token::Word(self.quoted_string().into())),
                _ if is_blank(c) => (),
                _ if is_special(c) => return Some(Token::Special(c)),
                _ => return Some(Token::Word(self.atom(at).into())),
            }
        }
    }
}

/// The words of an unfolded value, in order.
pub(super) fn words(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    Tokens::of(text).filter_map(|token| match token {
        Token::Word(word) => Some(word),
        Token::Special(_) => None,
    })
}

/// Controls part words too: no word can carry one into a comparison.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// RFC 5322 3.2.3 without the dot, so that a dot-atom is one word.
fn is_special(c: char) -> bool {
    matches!(
        c,
        '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | '@' | '\\' | ',' | '"'
    )
}

fn is_word(c: char) -> bool {
    !is_blank(c) && !is_special(c)
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
        let tokens: Vec<_> = Tokens::of("A <b.c@d>,").collect();
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
