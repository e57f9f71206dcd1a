//! The lines of an e-mail, without the changes that mail programs make.

use crate::printable::is_invisible;

/// One line, reduced to what matters for a record.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Line {
    /// The line's number, counted from 1.
    pub(super) number: usize,
    /// The text. Each dash is `-`, and each run of white space is one blank. No
    /// blank stands at either end, and no character is invisible.
    pub(super) text: String,
}

impl Line {
    /// Whether the line is quoted with `>`.
    pub(super) fn is_quoted(&self) -> bool {
        self.text.starts_with('>')
    }

    /// The text without quote marks.
    pub(super) fn unquoted(&self) -> &str {
        self.text.trim_start_matches(['>', ' '])
    }
}

/// The lines of `text` that aren't blank.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line> {
    // Only LF counts for the line number, as in editors. Other line ends only divide.
    let physical = text.split('\n').zip(1..);
    physical
        .flat_map(|(line, number)| line.split(is_line_end).map(move |part| (part, number)))
        .map(|(part, number)| clear(part, number))
        .filter(|line| !line.text.is_empty())
}

fn clear(part: &str, number: usize) -> Line {
    let mut text = String::with_capacity(part.len());
    for character in part.chars().filter(|&character| !is_invisible(character)) {
        match character {
            character if is_dash(character) => text.push('-'),
            character if !character.is_whitespace() => text.push(character),
            _ if text.ends_with(' ') || text.is_empty() => (),
            _ => text.push(' '),
        }
    }
    let length = text.trim_end().len();
    text.truncate(length);
    Line { number, text }
}

fn is_line_end(character: char) -> bool {
    matches!(
        character,
        '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Hyphens and dashes that mail programs write instead of `-`: U+2010 to
/// U+2015, the minus sign and the compatibility forms.
fn is_dash(character: char) -> bool {
    matches!(
        character,
        '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}'
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    fn texts(text: &str) -> Vec<String> {
        lines(text).map(|line| line.text).collect()
    }

    #[test]
    fn clears_white_space_dashes_and_what_does_not_show() {
        assert_eq!(
            texts(" \u{A0}a\t \u{3000}b \r\n\u{FEFF}c\u{200B}d\u{AD}e "),
            ["a b", "cde"]
        );
        assert_eq!(texts("\u{2014}\u{2011}\u{2212}\u{FF0D}x"), ["----x"]);
        assert_eq!(texts("\r\n \n\u{A0}\n\u{200B}\n"), [""; 0]);
    }

    #[test]
    fn divides_at_every_line_end_and_counts_line_feeds() {
        let lines: Vec<Line> = lines("a\r\nb\rc\u{2028}d\n\ne").collect();
        let numbered: Vec<_> = lines
            .iter()
            .map(|line| (line.number, line.text.as_str()))
            .collect();
        assert_eq!(numbered, [(1, "a"), (2, "b"), (2, "c"), (2, "d"), (4, "e")]);
    }

    #[test]
    fn takes_off_quote_marks() {
        let lines: Vec<Line> = lines(" > >> a > b\nc > d").collect();
        assert_eq!((lines[0].is_quoted(), lines[0].unquoted()), (true, "a > b"));
        assert_eq!(
            (lines[1].is_quoted(), lines[1].unquoted()),
            (false, "c > d")
        );
    }
}
