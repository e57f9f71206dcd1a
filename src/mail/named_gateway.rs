//! Finds the gateway address that a message names in To. People and programs
//! write that field with small flaws, and no request must be lost for a flaw.
//! The addresses of a reply are read strictly instead: see `address_list`.
//!
//! A flaw never turns other mail into a request. A well-formed mailbox counts
//! as written. An address in a display name, in a comment or beside another
//! address does not count.

use super::address::Address;
use super::address_list::{mailboxes, to_addresses};
use super::encoded_word;
use super::gateway_addresses::GatewayAddresses;
use super::header::Headers;
use crate::printable::is_invisible;

/// The first configured address in To, in a well-formed mailbox or else in one
/// that plainly holds it. The caller checks that the envelope names the gateway
/// too.
#[must_use]
pub(crate) fn named_in_to<'a>(
    headers: &Headers,
    gateway: &'a GatewayAddresses,
) -> Option<&'a Address> {
    let well_formed = to_addresses(headers);
    well_formed
        .iter()
        .find_map(|address| gateway.find(address))
        .or_else(|| {
            let mut fields = headers.get_all("To");
            fields.find_map(|field| named_plainly(&field.unfolded(), gateway))
        })
}

fn named_plainly<'a>(list: &str, gateway: &'a GatewayAddresses) -> Option<&'a Address> {
    mailboxes(&as_seen(list)).into_iter().find_map(|mailbox| {
        let address = mailbox.or_else(|text| plain_address(&text).ok_or(text));
        gateway.find(&address.ok()?)
    })
}

/// The text as a person sees it: each kind of blank becomes a blank, and
/// characters without width are dropped.
fn as_seen(text: &str) -> String {
    let seen = text.chars().filter(|&c| !is_invisible(c));
    seen.map(|c| match c.is_whitespace() || c.is_control() {
        true => ' ',
        false => c,
    })
    .collect()
}

/// The address that a malformed mailbox plainly holds: alone in the last
/// brackets, or as the last word if there are no brackets.
fn plain_address(mailbox: &str) -> Option<Address> {
    let mailbox = as_seen(&encoded_word::decode(mailbox));
    if let Some((_, behind_bracket)) = mailbox.rsplit_once('<') {
        let (inside, _) = behind_bracket
            .split_once('>')
            .unwrap_or((behind_bracket, ""));
        return bare_address(inside);
    }
    let mut words = mailbox.split(' ').rev().filter(|word| !word.is_empty());
    let address = bare_address(words.next()?)?;
    let is_no_other = |word: &str| {
        !word.contains('@') || bare_address(word).is_some_and(|own| own.same_mailbox(&address))
    };
    words.all(is_no_other).then_some(address)
}

/// The address in a word, without quotes, brackets and marks around it, and
/// without the parts of a `mailto:` link.
fn bare_address(word: &str) -> Option<Address> {
    let word = word.trim_matches(is_around);
    let link = word
        .split_at_checked(LINK.len())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(LINK));
    let address = match link {
        Some((_, link)) => link.split('?').next().unwrap_or_default(),
        None => word,
    };
    Address::parse(address.trim_matches(is_around)).ok()
}

const LINK: &str = "mailto:";

/// Characters around an address, which begin or end no gateway's address:
/// quotes of all kinds, brackets, blanks, punctuation.
fn is_around(c: char) -> bool {
    !c.is_alphanumeric() && !"!#$%&*+-/=?^_{|}~".contains(c)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const GATEWAY: &str = "gateway@kms.example.org";

    fn names_gateway(list: &str) -> bool {
        let own = Address::parse(GATEWAY).unwrap();
        let gateway = GatewayAddresses::new(vec![own.clone()], "+");
        let mut headers = Headers::new();
        headers.push(b"To", list.as_bytes());
        named_in_to(&headers, &gateway) == Some(&own)
    }

    #[test]
    fn a_flaw_hides_no_address() {
        for list in [
            "gateway@kms.example.org",
            "'gateway@kms.example.org'",
            "\"gateway@kms.example.org\"",
            "\"'gateway@kms.example.org'\"",
            "\u{201c}gateway@kms.example.org\u{201d}",
            "\u{ab}gateway@kms.example.org\u{bb}",
            "`gateway@kms.example.org`",
            "<'gateway@kms.example.org'>",
            "<\"gateway@kms.example.org\">",
            "KMS <'gateway@kms.example.org'>",
            "<mailto:gateway@kms.example.org>",
            "KMS <MAILTO:gateway@kms.example.org?subject=x>",
            "mailto:gateway@kms.example.org",
            "[mailto:gateway@kms.example.org]",
            "KMS [mailto:gateway@kms.example.org]",
            "[gateway@kms.example.org]",
            "gateway@kms.example.org <mailto:gateway@kms.example.org>",
            "gateway@kms.example.org [mailto:gateway@kms.example.org]",
            "\u{a0}gateway@kms.example.org\u{a0}",
            "KMS\u{3000}<gateway@kms.example.org\u{a0}>",
            "\u{202a}gateway@kms.example.org\u{202c}",
            "<\u{200b}gate\u{ad}way@kms.example.org>",
            "\u{feff}<gateway@kms.\u{2060}example.org>",
            "=?utf-8?q?gateway=40kms=2Eexample=2Eorg?=",
            "=?utf-8?B?Z2F0ZXdheUBrbXMuZXhhbXBsZS5vcmc=?=",
            "=?utf-8?q?KMS_=3Cgateway=40kms=2Eexample=2Eorg=3E?=",
            "=?utf-8?q?KMS?= gateway@kms.example.org",
            "=?utf-8?q?gateway@kms.example.org?=",
            "KMS gateway@kms.example.org",
            "KMS Gateway - gateway+x@kms.example.org",
            "\"KMS Gateway\" gateway@kms.example.org (of ours)",
            "<<gateway@kms.example.org>>",
            "KMS <gateway@kms.example.org>>",
            "KMS <gateway@kms.example.org",
            "gateway@kms.example.org>",
            "<gateway@kms.example.org> KMS",
            "\"KMS <gateway@kms.example.org>",
            "KMS\" <gateway@kms.example.org>",
            "gateway@kms.example.org;",
            "gateway@kms.example.org.",
            "\"gateway@kms.example.org.,\"",
            "(KMS) 'gateway@kms.example.org' (x)",
            "list@lists.example, 'gateway@kms.example.org'",
            "\"list@lists.example\" <<gateway@kms.example.org>>",
        ] {
            assert!(names_gateway(list), "{list}");
        }
    }

    #[test]
    fn what_is_to_another_is_not_to_the_gateway() {
        for list in [
            "",
            "gateway",
            "\"gateway@kms.example.org\" <list@lists.example>",
            "gateway@kms.example.org <list@lists.example>",
            "'gateway@kms.example.org' list@lists.example",
            "list@lists.example 'gateway@kms.example.org'",
            "\"gateway@kms.example.org, list@lists.example",
            "\"list@lists.example, gateway@kms.example.org",
            "\"gateway@kms.example.org <list@lists.example>",
            "gateway@kms.example.org <list>",
            "gateway@kms.example.org <>",
            "\"<gateway@kms.example.org>\" <list>",
            "\"<gateway@kms.example.org>\" <<list@lists.example>>",
            "<gateway@kms.example.org> <list@lists.example>",
            "<gateway@kms.example.org list@lists.example>",
            "gateway@kms.example.org list",
            "(gateway@kms.example.org)",
            "(gateway@kms.example.org) list",
            "list (gateway@kms.example.org",
            "gateway@kms.example.org: list;",
            "gateway@kms.example.org: 'list@lists.example';",
            "=?utf-8?q?gateway=40kms=2Eexample=2Eorg?= <list@lists.example>",
            "=?utf-8?q?gateway=40kms=2Eexample=2Eorg?= <list>",
            "=?utf-8?q?=3Cgateway=40kms=2Eexample=2Eorg=3E?= <list>",
            "=?utf-8?q?gateway=40kms=2Eexample=2Eorg=2C?= list",
            "<@gateway@kms.example.org,@x:list@lists.example>",
            "'gateway@kms.example.org.evil.example'",
            "'o'gateway@kms.example.org'",
            "Mr o'gateway@kms.example.org",
            "'list%gateway@kms.example.org'",
            "'list!gateway@kms.example.org'",
            "'list=gateway@kms.example.org'",
            "'my-gateway@kms.example.org'",
            "'-gateway@kms.example.org'",
            "'gateway@kms.example.org@lists.example'",
            "'gateway+kms.example.org@lists.example'",
            "<mailto:list@lists.example?cc=gateway@kms.example.org>",
            "'list@lists.example?gateway@kms.example.org'",
            "KMS two\"gateway@kms.example.org",
        ] {
            assert!(!names_gateway(list), "{list}");
        }
    }

    #[test]
    fn hostile_lists_are_read_in_one_go() {
        for piece in [
            "<",
            "'",
            "\"a ",
            "=?a?q?b?= ",
            "a@x ",
            "[",
            "\u{200b}",
            "a@x.org' ,",
        ] {
            // This would take minutes if the time were quadratic.
            names_gateway(&piece.repeat(20_000));
        }
    }

    proptest! {
        #[test]
        fn any_list_is_survived(list in "\\PC*|[ga@.,;:<>()\"'\\[\\] \t\\\\é=?q]{0,60}") {
            names_gateway(&list);
        }

        /// Any display name leaves the address behind it as it is.
        #[test]
        fn a_display_name_is_no_address(name in "[ -~]{0,40}") {
            let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
            for another in ["<list@lists.example>", "<'list@lists.example'>", "<list>"] {
                let list = format!("\"{quoted} gateway@kms.example.org\" {another}");
                prop_assert!(!names_gateway(&list), "{}", list);
            }
        }
    }
}
