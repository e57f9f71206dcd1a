//! Joins the lines of `format=flowed` text to paragraphs (RFC 3676).

/// Joins a line that ends in a blank with the next line of the same quote
/// depth, and drops the stuffed blank before a line. `delete_space` is the
/// parameter DelSp.
///
/// Line ends become LF. Quote marks stay.
pub(super) fn unflow(text: &str, delete_space: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // The quote depth of the open paragraph.
    let mut open = None;
    for line in text.split_inclusive('\n') {
        let line = Line::parse(line);
        if open != Some(line.depth) || line.is_signature_separator() {
            if open.is_some() {
                out.push('\n');
            }
            line.push_quote_marks(&mut out);
        }
        let flows = line.flows();
        let content = match line.content.strip_suffix(' ') {
            Some(content) if flows && delete_space => content,
            _ => line.content,
        };
        out.push_str(content);
        if !flows && line.has_end {
            out.push('\n');
        }
        open = flows.then_some(line.depth);
    }
    out
}

struct Line<'a> {
    depth: usize,
    /// The line without quote marks, stuffed blank and line end.
    content: &'a str,
    has_end: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let without_end = line.strip_suffix('\n');
        let text = without_end.unwrap_or(line);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let stuffed = text.trim_start_matches('>');
        Line {
            depth: text.len() - stuffed.len(),
            content: stuffed.strip_prefix(' ').unwrap_or(stuffed),
            has_end: without_end.is_some(),
        }
    }

    fn flows(&self) -> bool {
        self.content.ends_with(' ') && !self.is_signature_separator()
    }

    /// The separator ends in a blank and is still a line of its own (4.3).
    fn is_signature_separator(&self) -> bool {
        self.content == "-- "
    }

    fn push_quote_marks(&self, out: &mut String) {
        if self.depth > 0 {
            out.extend(std::iter::repeat_n('>', self.depth));
            out.push(' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::unflow;

    #[test]
    fn flowed_lines_are_joined() {
        assert_eq!(
            unflow("one \r\ntwo\r\nthree\r\n", false),
            "one two\nthree\n"
        );
        assert_eq!(unflow("VKLOAD.RE \r\nQ.1\r\n", true), "VKLOAD.REQ.1\n");
    }

    #[test]
    fn stuffing_goes() {
        assert_eq!(
            unflow(" From me\r\n  two\r\n >x\r\n", false),
            "From me\n two\n>x\n"
        );
    }

    #[test]
    fn quote_depth_ends_a_paragraph() {
        assert_eq!(
            unflow("> a \n> b \n>> c\nd \n> e", false),
            "> a b \n>> c\nd \n> e"
        );
    }

    #[test]
    fn the_signature_separator_stands_alone() {
        assert_eq!(unflow("a \n-- \nName\n", false), "a \n-- \nName\n");
        assert_eq!(unflow("a\n-- \nName\n", false), "a\n-- \nName\n");
    }

    #[test]
    fn fixed_text_stays() {
        let text = "-----STS:X BEGINS-----\nabc|def\n\n-----STS:X ENDS-----";
        assert_eq!(unflow(text, true), text);
    }

    proptest! {
        #[test]
        fn nothing_but_blanks_line_ends_and_marks_is_lost(text in "([a-z|] ?|>|\r\n|\n| ){0,80}") {
            let bare = |text: &str| text.replace([' ', '\r', '\n', '>'], "");
            prop_assert_eq!(bare(&unflow(&text, true)), bare(&text));
            prop_assert_eq!(bare(&unflow(&text, false)), bare(&text));
        }
    }
}
