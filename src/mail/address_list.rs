//! Addresses out of header fields (RFC 5322 3.4). Display names, comments,
//! group names and routes never count as addresses.
//!
//! The reader is our own: mail-parser 0.11 loses quoted local parts, and joins the
//! text around a comment or a second pair of brackets into addresses that nobody
//! wrote. Here a malformed mailbox is no address, and the mailboxes beside it still
//! are.

use super::address::{Address, without_route};
use super::header::{Header, Headers};
use super::lexer::{Kind, Lexer, Syntax, Token, is_plain_blank};

/// The addresses of all To fields.
#[must_use]
pub fn to_addresses(headers: &Headers) -> Vec<Address> {
    all(headers, "To")
}

/// The addresses of all From fields.
pub fn from_addresses(headers: &Headers) -> Vec<Address> {
    all(headers, "From")
}

/// The addresses of all fields of that name, in order.
pub(super) fn all(headers: &Headers, name: &str) -> Vec<Address> {
    headers
        .get_all(name)
        .flat_map(|field: &Header| addresses(&field.unfolded()))
        .collect()
}

/// The well-formed addresses of an unfolded address list, in order.
fn addresses(list: &str) -> Vec<Address> {
    let mailboxes = mailboxes(list).into_iter();
    mailboxes.filter_map(Result::ok).collect()
}

/// The mailboxes of an unfolded address list, in order: the address, or the text of
/// a malformed mailbox without its comments.
pub(super) fn mailboxes(list: &str) -> Vec<Result<Address, String>> {
    let mut found = Vec::new();
    let mut mailbox = Mailbox::default();
    for token in Lexer::new(list, SYNTAX) {
        match (token.kind, token.text) {
            (Kind::Special, "," | ";") if !mailbox.in_brackets() => {
                found.push(std::mem::take(&mut mailbox).finish());
            }
            // The text before it is the name of a group.
            (Kind::Special, ":") if !mailbox.in_brackets() => mailbox = Mailbox::default(),
            _ => mailbox.take(token),
        }
    }
    found.push(mailbox.finish());
    found
}

const SYNTAX: Syntax = Syntax {
    is_blank: is_plain_blank,
    is_special: |c| matches!(c, '<' | '>' | ',' | ';' | ':' | '@' | '.' | ')'),
    enclosing: Some(('[', ']')),
};

/// One mailbox while it is read.
#[derive(Default)]
struct Mailbox {
    /// The text of the mailbox without comments.
    source: String,
    /// Before brackets: a bare address or a display name. Inside: the address.
    text: String,
    brackets: Brackets,
    blank_pending: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Brackets {
    #[default]
    None,
    Open,
    Closed,
    /// A second pair, or text behind the first.
    Broken,
}

impl Mailbox {
    fn in_brackets(&self) -> bool {
        self.brackets == Brackets::Open
    }

    fn take(&mut self, token: Token<'_>) {
        let is_blank = matches!(token.kind, Kind::Blank | Kind::Comment);
        self.source
            .push_str(if is_blank { " " } else { token.text });
        match (token.kind, token.text) {
            _ if is_blank => self.blank_pending = true,
            (Kind::Special, "<") => self.open(),
            (Kind::Special, ">") => self.close(),
            (_, text) => self.push(text),
        }
    }

    fn open(&mut self) {
        self.brackets = match self.brackets {
            Brackets::None => Brackets::Open,
            Brackets::Open | Brackets::Closed | Brackets::Broken => Brackets::Broken,
        };
        self.text.clear();
        self.blank_pending = false;
    }

    fn close(&mut self) {
        self.brackets = match self.brackets {
            Brackets::Open => Brackets::Closed,
            Brackets::None | Brackets::Closed | Brackets::Broken => Brackets::Broken,
        };
    }

    /// Drops blanks around `@` and `.` (RFC 5322 4.4). Any other blank stays and makes
    /// the address malformed.
    fn push(&mut self, text: &str) {
        match self.brackets {
            Brackets::None | Brackets::Open => (),
            Brackets::Closed | Brackets::Broken => {
                self.brackets = Brackets::Broken;
                return;
            }
        }
        let joins = matches!(text, "@" | "." | ":" | ",")
            || self.text.is_empty()
            || self.text.ends_with(['@', '.', ':', ',']);
        if self.blank_pending && !joins {
            self.text.push(' ');
        }
        self.blank_pending = false;
        self.text.push_str(text);
    }

    fn finish(self) -> Result<Address, String> {
        let address = match self.brackets {
            Brackets::None => Address::parse(&self.text).ok(),
            Brackets::Closed => Address::parse(without_route(&self.text)).ok(),
            Brackets::Open | Brackets::Broken => None,
        };
        address.ok_or(self.source)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn read(list: &str) -> Vec<String> {
        addresses(list).iter().map(Address::to_wire).collect()
    }

    #[test]
    fn ordinary_lists() {
        assert_eq!(read(" a@x.org"), ["a@x.org"]);
        assert_eq!(
            read("A B <a@x.org>, \"C, D\" <c@x.org>,e@x.org"),
            ["a@x.org", "c@x.org", "e@x.org"]
        );
        assert_eq!(
            read("a@x.org (A, <z@x.org> (B \\) C)), b@x.org"),
            ["a@x.org", "b@x.org"]
        );
        assert_eq!(read("=?utf-8?q?Doe, John?= <j@x.org>"), ["j@x.org"]);
        assert_eq!(
            read("\"gateway\"@x.org, <\"two words\"@x.org>"),
            ["gateway@x.org", "\"two words\"@x.org"]
        );
        assert_eq!(
            read("a@[127.0.0.1], b@[IPv6:::1]"),
            ["a@[127.0.0.1]", "b@[IPv6:::1]"]
        );
    }

    #[test]
    fn groups() {
        assert_eq!(read("undisclosed-recipients:;"), [""; 0]);
        assert_eq!(
            read("G: a@x.org, B <b@x.org>;, c@x.org"),
            ["a@x.org", "b@x.org", "c@x.org"]
        );
        assert_eq!(read("a@x.org; b@x.org"), ["a@x.org", "b@x.org"]);
    }

    #[test]
    fn obsolete_forms() {
        assert_eq!(read("a . b @ x . org"), ["a.b@x.org"]);
        assert_eq!(read("a (c) @ (d) x.org"), ["a@x.org"]);
        assert_eq!(read("<@r.org,@s.org:a@x.org>"), ["a@x.org"]);
        assert_eq!(read(",, a@x.org ,,"), ["a@x.org"]);
    }

    #[test]
    fn a_display_name_never_counts() {
        for list in [
            "gateway@kms.example.org <victim@x.org>",
            "\"gateway@kms.example.org\" <victim@x.org>",
            "\"<gateway@kms.example.org>,\" <victim@x.org>",
            "(gateway@kms.example.org) victim@x.org",
            "(gateway@kms.example.org,) victim@x.org",
            "=?utf-8?q?gateway=40kms.example.org=2C?= <victim@x.org>",
            "gateway@kms.example.org: victim@x.org;",
            "gateway@kms.example.org (c) <victim@x.org>",
            "\"\\\"gateway@kms.example.org,\" <victim@x.org>",
            "<@gateway@kms.example.org,@kms.example.org:victim@x.org>",
        ] {
            assert_eq!(read(list), ["victim@x.org"], "{list}");
        }
    }

    #[test]
    fn malformed_mailboxes_are_no_addresses() {
        for list in [
            "a@x.org b@x.org",
            "<a@x.org> b@x.org",
            "<a@x.org> <b@x.org>",
            "<a@x.org",
            "a@x.org>",
            "a b@x.org",
            "\"a <b@x.org>",
            "(a b@x.org",
            "<<a@x.org>>",
            "a@x.org.\u{0}",
            "a@",
            "<>",
            "\\a@x.org",
            "gw@x.or (c) <g>",
            "a@x.org, <b@x.org",
        ] {
            let expected: &[&str] = if list.contains(',') {
                &["a@x.org"]
            } else {
                &[]
            };
            assert_eq!(read(list), expected, "{list}");
        }
    }

    #[test]
    fn all_fields_count() {
        let mut headers = Headers::new();
        headers.push(b"To", b" a@x.org,\n b@x.org");
        headers.push(b"to", b" c@x.org");
        let to: Vec<String> = to_addresses(&headers)
            .iter()
            .map(Address::to_wire)
            .collect();
        assert_eq!(to, ["a@x.org", "b@x.org", "c@x.org"]);
    }

    #[test]
    fn hostile_lists_are_read_in_one_go() {
        for piece in [
            "(",
            "\"",
            "<",
            "[",
            "a@x.org,",
            "(a)\"b\"",
            "\\",
            "=?utf-8?q?",
            "@",
            ":",
        ] {
            // Quadratic, this would go on for minutes.
            addresses(&piece.repeat(20_000));
        }
    }

    proptest! {
        #[test]
        fn any_list_is_survived(list in "\\PC*|[a@.,;:<>()\"\\[\\] \t\\\\é]{0,60}") {
            addresses(&list);
        }

        #[test]
        fn what_a_display_name_says_does_not_matter(name in "[ -~]{0,40}") {
            let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(read(&format!("\"{quoted}\" <a@x.org>")), ["a@x.org"]);
        }
    }
}
