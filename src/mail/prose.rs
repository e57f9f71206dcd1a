//! Wraps text for mail.

/// Columns of a line. Leaves room for quote marks within 78 (RFC 5322 2.1.1).
const COLUMNS: usize = 72;

/// Wraps lines longer than 72 columns at their blanks. The next lines get the
/// same indentation, and the width of a list mark such as `- ` or `1. ` more. A
/// word that is too long for a line, such as a record, stays whole.
#[must_use]
pub(crate) fn wrap_prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive('\n') {
        let (content, end) = match line.strip_suffix('\n') {
            Some(content) => (content.trim_end_matches('\r'), "\n"),
            None => (line, ""),
        };
        if content.chars().count() <= COLUMNS {
            out.push_str(content);
        } else {
            wrap_line(content, &mut out);
        }
        out.push_str(end);
    }
    out
}

fn wrap_line(line: &str, out: &mut String) {
    let words = line.trim_start_matches(' ');
    let indent = line.len() - words.len();
    let hanging = indent + marker(words);
    out.extend(std::iter::repeat_n(' ', indent));
    let mut column = indent;
    let mut first = true;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if first {
            first = false;
        } else if column + 1 + length > COLUMNS {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', hanging));
            column = hanging;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
}

/// Width in columns of the mark that begins a list item. 0 if there is none.
fn marker(words: &str) -> usize {
    let digits = words.len() - words.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    match words.get(digits..) {
        Some(rest) if digits > 0 && rest.starts_with(". ") => digits + 2,
        Some(rest) if digits == 0 && rest.starts_with("- ") => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{COLUMNS, wrap_prose};

    #[test]
    fn short_lines_stay() {
        let text = "one  two\n\n  three\n";
        assert_eq!(wrap_prose(text), text);
    }

    #[test]
    fn a_list_item_hangs() {
        for (mark, blanks) in [("- ", "  "), ("1. ", "   "), ("12. ", "    "), ("1 ", "")] {
            let wrapped = wrap_prose(&format!("{mark}{}", "word ".repeat(20)));
            let lines: Vec<&str> = wrapped.lines().collect();
            assert_eq!(lines.len(), 2, "{wrapped}");
            let hanging = format!("{blanks}word");
            assert!(
                lines.iter().skip(1).all(|line| line.starts_with(&hanging)),
                "{wrapped}"
            );
        }
    }

    #[test]
    fn a_long_word_stays_whole() {
        let word = "A".repeat(100);
        assert_eq!(
            wrap_prose(&format!("see {word} there")),
            format!("see\n{word}\nthere")
        );
    }

    proptest! {
        #[test]
        fn words_stay_and_lines_are_short(text in "([a-zé]{1,20}[ \n]{1,2}){0,60}") {
            let wrapped = wrap_prose(&text);
            prop_assert!(wrapped.lines().all(|line| line.chars().count() <= COLUMNS));
            prop_assert!(wrapped.split_whitespace().eq(text.split_whitespace()));
        }
    }
}
