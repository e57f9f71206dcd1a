//! Comments of structured fields (RFC 5322 3.2.2).

/// The text without its comments. A parenthesis in a quoted string or in angle
/// brackets begins no comment. A comment without an end goes to the end of the
/// text.
pub(super) fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' => comment_length(rest),
            '"' => delimited_length(rest, '"'),
            '<' => delimited_length(rest, '>'),
            _ => first.len_utf8(),
        };
        let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        if first != '(' {
            kept.push_str(piece);
        }
        rest = after;
    }
    kept
}

/// The length of the comment that begins the text. Comments nest. A comment
/// without an end goes to the end of the text.
pub(super) fn comment_length(text: &str) -> usize {
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

/// The length of the delimited piece that begins the text, up to and including `close`.
pub(super) fn delimited_length(text: &str, close: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == close => return at + c.len_utf8(),
            _ => (),
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        fn any_text_is_survived(text in "\\PC*|[()<>\"\\\\a é]{0,60}") {
            prop_assert!(without_comments(&text).len() <= text.len());
        }
    }
}
