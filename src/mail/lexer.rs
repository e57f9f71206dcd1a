//! Splits the value of a structured field into the tokens of RFC 5322 3.2. Every
//! reader of such a field uses this lexer. Knows no field's meaning.

/// The differences between the fields that the lexer reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syntax {
    /// The characters that separate tokens.
    pub(crate) is_blank: fn(char) -> bool,
    /// The characters that are tokens by themselves.
    pub(crate) is_special: fn(char) -> bool,
    /// The delimiters of a token with any text inside, such as a domain literal.
    pub(crate) enclosing: Option<(char, char)>,
}

/// RFC 5322's blanks, as an unfolded value has them.
pub(crate) fn is_plain_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// All blanks of Unicode. Controls separate too: no word can carry one into a
/// comparison.
pub(crate) fn is_blank_or_control(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Characters that belong together.
    Atom,
    /// A quoted string with its quotes.
    Quoted,
    /// Any text between the delimiters of [`Syntax::enclosing`], with them.
    Enclosed,
    /// A comment with its brackets. Comments nest.
    Comment,
    Blank,
    /// A single special character.
    Special,
}

/// A token of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// The token as it stands in the field, never empty.
    pub(crate) text: &'a str,
}

impl Token<'_> {
    /// Whether this is the special character `c`.
    pub(crate) fn is_special(&self, c: char) -> bool {
        self.kind == Kind::Special && self.text.starts_with(c)
    }
}

/// The tokens of an unfolded value. Together they are the whole value. A quoted
/// string, a comment or another enclosed token that is not closed ends with the
/// value.
pub(crate) struct Lexer<'a> {
    rest: &'a str,
    syntax: Syntax,
}

impl<'a> Lexer<'a> {
    /// Reads an unfolded value.
    pub(crate) fn new(value: &'a str, syntax: Syntax) -> Self {
        Self {
            rest: value,
            syntax,
        }
    }

    fn starts_token(&self, c: char) -> bool {
        matches!(c, '(' | '"')
            || self.syntax.enclosing.is_some_and(|(open, _)| c == open)
            || (self.syntax.is_blank)(c)
            || (self.syntax.is_special)(c)
    }

    fn up_to(&self, ends: impl Fn(char) -> bool) -> usize {
        self.rest.find(ends).unwrap_or(self.rest.len())
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = self.rest.chars().next()?;
        let enclosed = |close| enclosed_length(self.rest, close).unwrap_or(self.rest.len());
        let (kind, length) = match (first, self.syntax.enclosing) {
            ('(', _) => (Kind::Comment, comment_length(self.rest)),
            ('"', _) => (Kind::Quoted, enclosed('"')),
            (_, Some((open, close))) if first == open => (Kind::Enclosed, enclosed(close)),
            _ if (self.syntax.is_blank)(first) => {
                (Kind::Blank, self.up_to(|c| !(self.syntax.is_blank)(c)))
            }
            _ if (self.syntax.is_special)(first) => (Kind::Special, first.len_utf8()),
            _ => (Kind::Atom, self.up_to(|c| self.starts_token(c))),
        };
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Token { kind, text })
    }
}

fn comment_length(text: &str) -> usize {
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => (),
        }
        if depth == 0 {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// The length up to and including `close`. `None` if the token is not closed.
pub(super) fn enclosed_length(text: &str, close: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == close => return Some(at + c.len_utf8()),
            _ => (),
        }
    }
    None
}

/// The content of a quoted string, without its quotes and escapes.
pub(crate) fn unquoted(quoted: &str) -> String {
    let mut content = String::new();
    let mut chars = quoted.chars().skip(1);
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => content.extend(chars.next()),
            _ => content.push(c),
        }
    }
    content
}

/// Anything, and in it message identifiers: brackets there are no comment.
const IDENTIFIERS: Syntax = Syntax {
    is_blank: |_| false,
    is_special: |_| false,
    enclosing: Some(('<', '>')),
};

/// The value without its comments. Brackets in quoted strings or in angle
/// brackets are no comments.
pub(super) fn without_comments(value: &str) -> String {
    Lexer::new(value, IDENTIFIERS)
        .filter(|token| token.kind != Kind::Comment)
        .map(|token| token.text)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESSES: Syntax = Syntax {
        is_blank: is_plain_blank,
        is_special: |c| "<>,;:@.)".contains(c),
        enclosing: Some(('[', ']')),
    };

    fn tokens(value: &str) -> Vec<(Kind, &str)> {
        Lexer::new(value, ADDRESSES)
            .map(|token| (token.kind, token.text))
            .collect()
    }

    #[test]
    fn each_token_has_its_kind() {
        assert_eq!(
            tokens("é \t\"a \\\" (\"b@[::1\\]]) (c (\\)) d)e"),
            [
                (Kind::Atom, "é"),
                (Kind::Blank, " \t"),
                (Kind::Quoted, "\"a \\\" (\""),
                (Kind::Atom, "b"),
                (Kind::Special, "@"),
                (Kind::Enclosed, "[::1\\]]"),
                (Kind::Special, ")"),
                (Kind::Blank, " "),
                (Kind::Comment, "(c (\\)) d)"),
                (Kind::Atom, "e"),
            ]
        );
    }

    #[test]
    fn an_open_token_ends_with_the_value() {
        assert_eq!(tokens("(a (b)"), [(Kind::Comment, "(a (b)")]);
        assert_eq!(tokens("\"a\\\""), [(Kind::Quoted, "\"a\\\"")]);
        assert_eq!(tokens("[a, b"), [(Kind::Enclosed, "[a, b")]);
    }

    #[test]
    fn a_quoted_string_loses_quotes_and_escapes() {
        for (quoted, content) in [
            ("\"a \\\" b\"", "a \" b"),
            ("\"\\\\\"", "\\"),
            ("\"left open", "left open"),
            ("\"left open\\", "left open"),
            ("\"\"", ""),
        ] {
            assert_eq!(unquoted(quoted), content, "{quoted}");
        }
    }

    #[test]
    fn comments_go_and_all_else_stays() {
        for (text, expected) in [
            ("<1@x> (added (by) \\) z)", "<1@x> "),
            ("(a)<1(b)@x>(c)", "<1(b)@x>"),
            ("\"a (b)\" (c)d", "\"a (b)\" d"),
            ("a (left open", "a "),
            ("a) b", "a) b"),
            ("", ""),
        ] {
            assert_eq!(without_comments(text), expected, "{text}");
        }
    }

    #[test]
    fn hostile_texts_are_read_in_one_go() {
        for piece in ["(", "\"", "<", "()", "\\", "<>\"\""] {
            // This would take minutes if the time were quadratic.
            without_comments(&piece.repeat(50_000));
        }
    }

    proptest! {
        #[test]
        fn tokens_are_the_whole_value(value in "\\PC*|[()<>\"\\\\\\[\\],@ \ta é]{0,60}") {
            let texts: String = Lexer::new(&value, ADDRESSES).map(|token| token.text).collect();
            prop_assert_eq!(texts, value);
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*|[()<>\"\\\\a é]{0,60}") {
            prop_assert!(without_comments(&text).len() <= text.len());
        }
    }
}
