//! Reads the mailboxes of an address field leniently. Bounces write addresses
//! without a domain or with empty brackets, and must be recognised all the same.
//! The reply goes to the addresses that `mail` reads strictly.

use std::borrow::Cow;

use crate::mail::{Address, GatewayAddresses, Header};

use super::tokens::{Token, tokens};

/// A mailbox as it is written, valid or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// The text before the `@`, or the only word if there is no `@`.
    pub(super) local: String,
    /// The text behind the `@`, if there is any.
    pub(super) domain: Option<String>,
}

impl Mailbox {
    /// The mailbox as an address, if it is valid.
    fn address(&self) -> Option<Address> {
        let domain = self.domain.as_deref()?;
        let quoted = self.local.replace('\\', "\\\\").replace('"', "\\\"");
        Address::parse(&format!("{}@{domain}", self.local))
            .or_else(|_| Address::parse(&format!("\"{quoted}\"@{domain}")))
            .ok()
    }
}

/// The mailboxes of an unfolded value in order, without display names, comments
/// and the names of groups.
pub(super) fn mailboxes(value: &str) -> Vec<Mailbox> {
    let mut found = Vec::new();
    let mut reader = Reader::default();
    for token in tokens(value) {
        match token {
            Token::Special(',' | ';') if !reader.in_brackets => found.extend(reader.finish()),
            // The text before it is the name of a group, or `mailto`.
            Token::Special(':') => reader.outside.clear(),
            Token::Special('<') => reader.in_brackets = true,
            Token::Special('>') => reader.in_brackets = false,
            other => reader.push(other),
        }
    }
    found.extend(reader.finish());
    found
}

/// The first address in a field that is one of the gateway's.
pub(super) fn gateway_in(header: &Header, gateway: &GatewayAddresses) -> Option<Address> {
    mailboxes(&header.unfolded())
        .iter()
        .filter_map(Mailbox::address)
        .find(|address| gateway.contains(address))
}

/// One mailbox being read.
#[derive(Default)]
struct Reader<'a> {
    in_brackets: bool,
    outside: Vec<Token<'a>>,
    inside: Vec<Token<'a>>,
}

impl<'a> Reader<'a> {
    fn push(&mut self, token: Token<'a>) {
        if self.in_brackets {
            self.inside.push(token);
        } else {
            self.outside.push(token);
        }
    }

    /// With empty brackets the text before them counts: `MAILER-DAEMON <>`.
    fn finish(&mut self) -> Option<Mailbox> {
        let reader = std::mem::take(self);
        if reader.inside.is_empty() {
            mailbox(&reader.outside)
        } else {
            mailbox(&reader.inside)
        }
    }
}

fn mailbox(tokens: &[Token<'_>]) -> Option<Mailbox> {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => Some(word.clone().into_owned()),
        _ => None,
    };
    let at_sign = tokens
        .iter()
        .rposition(|token| *token == Token::Special('@'));
    match at_sign {
        Some(at) => Some(Mailbox {
            local: word(at.checked_sub(1)?)?,
            domain: word(at + 1),
        }),
        None => match tokens {
            [Token::Word(only)] => Some(Mailbox {
                local: Cow::clone(only).into_owned(),
                domain: None,
            }),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Vec<(String, Option<String>)> {
        mailboxes(value)
            .into_iter()
            .map(|mailbox| (mailbox.local, mailbox.domain))
            .collect()
    }

    fn one(local: &str, domain: &str) -> Vec<(String, Option<String>)> {
        vec![(local.to_owned(), Some(domain.to_owned()))]
    }

    #[test]
    fn the_address_is_read_and_not_the_name_beside_it() {
        for value in [
            "joe@a.example",
            "<joe@a.example>",
            "Postmaster General <joe@a.example>",
            "\"postmaster@b.example\" <joe@a.example>",
            "joe@a.example (MAILER-DAEMON@b.example)",
            "<@relay.example:joe@a.example>",
            "Group: joe@a.example;",
        ] {
            assert_eq!(read(value), one("joe", "a.example"), "{value:?}");
        }
    }

    #[test]
    fn broken_addresses_keep_their_local_part() {
        for value in [
            "MAILER-DAEMON",
            "<MAILER-DAEMON>",
            "MAILER-DAEMON <>",
            "\"MAILER-DAEMON\" <>",
            "Mail Delivery Subsystem <MAILER-DAEMON>",
            "MAILER-DAEMON (Mail Delivery System)",
            "MAILER-DAEMON@",
            "Mail System <MAILER-DAEMON@>",
            "<MAILER-DAEMON",
        ] {
            let expected = vec![("MAILER-DAEMON".to_owned(), None)];
            assert_eq!(read(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_name_alone_is_no_mailbox() {
        for value in [
            "",
            "<>",
            "Mail Delivery System <>",
            "Mailer Daemon",
            "undisclosed-recipients:;",
        ] {
            assert_eq!(read(value), [], "{value:?}");
        }
    }

    #[test]
    fn a_list_gives_each() {
        let names: Vec<_> =
            read("a@x.example, B <b@y.example>, G: c@z.example, d;, \"e f\"@v.example")
                .into_iter()
                .map(|(local, _)| local)
                .collect();
        assert_eq!(names, ["a", "b", "c", "d", "e f"]);
    }

    proptest! {
        #[test]
        fn any_value_is_read(value in any::<String>()) {
            for mailbox in mailboxes(&value) {
                let _ = mailbox.address();
            }
        }
    }
}
