//! The finding of a rule, and how its reason quotes a sender's text.

use std::fmt::{self, Display, Formatter, Write};

use super::verdict::Verdict;

/// A rule matched: the verdict, and the reason in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The verdict on the message, never [`Verdict::Request`].
    pub(crate) verdict: Verdict,
    /// One line of printable text, in which each quotation is bounded.
    pub reason: String,
}

impl Finding {
    pub(super) fn new(verdict: Verdict, reason: impl Display) -> Self {
        Finding {
            verdict,
            reason: reason.to_string(),
        }
    }

    pub(super) fn ignore(reason: impl Display) -> Self {
        Self::new(Verdict::Ignore, reason)
    }
}

/// The most characters of one quotation.
const MAX_QUOTED: usize = 80;

/// A sender's text as a reason quotes it: in quotes, of bounded length, without
/// controls, line breaks or characters that turn the writing around.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0.trim_matches([' ', '\t']);
        f.write_char('"')?;
        for c in text.chars().take(MAX_QUOTED) {
            match c {
                '\'' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        if text.chars().nth(MAX_QUOTED).is_some() {
            f.write_char('…')?;
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        Quoted(text).to_string()
    }

    #[test]
    fn what_is_quoted_stays_on_its_line_and_in_its_direction() {
        assert_eq!(quoted(" it's (plain)\t"), "\"it's (plain)\"");
        assert_eq!(quoted("a\r\nb\tc\u{1b}[31m"), r#""a\r\nb\tc\u{1b}[31m""#);
        assert_eq!(quoted("say \"so\" \\"), r#""say \"so\" \\""#);
        assert_eq!(
            quoted("\u{202e}gpj\u{2066}\u{feff}\u{2028}"),
            r#""\u{202e}gpj\u{2066}\u{feff}\u{2028}""#
        );
        assert_eq!(quoted("回复"), "\"回复\"");
    }

    #[test]
    fn what_is_quoted_is_bounded() {
        let long = "x".repeat(1_000_000);
        assert_eq!(quoted(&long).chars().count(), MAX_QUOTED + 3);
        assert_eq!(
            quoted(&"x".repeat(MAX_QUOTED)).chars().count(),
            MAX_QUOTED + 2
        );
    }

    proptest! {
        #[test]
        fn no_control_is_quoted(text in any::<String>()) {
            let turns_writing = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let is_clean = !quoted(&text).chars().any(|c| c.is_control() || turns_writing(c));
            prop_assert!(is_clean);
        }
    }
}
