//! Makes texts of strangers safe for people to read. Knows characters, not what a
//! text means.

use std::fmt::{self, Display, Formatter, Write};

/// Shows a text on one line and without effects: no line break or other control, no
/// escape sequence, no change of the writing's direction. Characters that aren't
/// printable are escaped as in Rust's literals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\'' | '"' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// Characters without width: the soft hyphen, zero-width spaces and joiners,
/// marks of direction, and the byte order mark.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{AD}'
            | '\u{61C}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
    )
}

/// Shows JSON just as safely. The value stays the same: each character in its
/// strings that isn't printable is written `\uXXXX`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrintableJson<'a>(pub(crate) &'a str);

impl Display for PrintableJson<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            // The serialiser has escaped every ASCII control in a string but DEL.
            // Line ends between values are its own.
            let is_safe = match c {
                '\u{7f}' => false,
                '\0'..='\u{7e}' => true,
                _ => c.escape_debug().eq([c]),
            };
            if is_safe {
                f.write_char(c)?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(f, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Whether a character is a control or a line end, or changes the direction of
    /// writing.
    fn acts(c: char) -> bool {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    }

    #[test]
    fn what_acts_is_escaped_and_the_rest_stays() {
        let shown = Printable("it's \"é回\" \\ \r\n\t\u{1b}[31m\u{9b}1m\u{202e}gpj").to_string();
        assert_eq!(
            shown,
            r#"it's "é回" \\ \r\n\t\u{1b}[31m\u{9b}1m\u{202e}gpj"#
        );
    }

    proptest! {
        #[test]
        fn nothing_acts(text in any::<String>()) {
            prop_assert!(!Printable(&text).to_string().chars().any(acts));
        }

        #[test]
        fn json_keeps_its_value_and_nothing_in_it_acts(text in any::<String>()) {
            let shown = PrintableJson(&serde_json::to_string(&text).unwrap()).to_string();
            prop_assert!(!shown.chars().any(acts), "{}", shown);
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
