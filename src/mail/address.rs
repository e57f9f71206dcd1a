//! One mail address. An [`Address`] has been checked, so code may write it into
//! a header or an SMTP command. Knows no header syntax.

use std::fmt::{self, Display, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::lexer::enclosed_length;

/// Octets of an address at most: a path of 256 octets (RFC 5321 4.5.3.1.3)
/// without its brackets. Local parts have no limit of their own. SRS, BATV and
/// list managers write more than the 64 octets of 4.5.3.1.1, and Postfix
/// accepts them.
const MAX_ADDRESS: usize = 254;

/// A mailbox of RFC 5321 4.1.2, with the UTF-8 local parts of RFC 6531.
///
/// The domain has one form, lower-case A-labels without a trailing dot, so that
/// `==` compares domains as DNS does. Local parts compare exactly, as only
/// their own domain may ignore case. See [`Address::same_mailbox`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The local part without quotes and backslashes.
    local: String,
    domain: String,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// There is no `@` outside quotes.
    #[error("it has no domain")]
    NoDomain,
    /// The local part is neither a dot-atom nor a quoted string.
    #[error("its local part is malformed")]
    Local,
    /// The domain is neither a domain name nor an address literal.
    #[error("its domain is malformed")]
    Domain,
    /// The address exceeds the limits of RFC 5321 4.5.3.1.
    #[error("it is too long")]
    TooLong,
}

impl Address {
    /// Reads an addr-spec without brackets, comments or folds.
    ///
    /// # Errors
    /// The error names the malformed part.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = split(text)?;
        let address = Address {
            local: parse_local(local)?,
            domain: parse_domain(domain)?,
        };
        if address.to_wire().len() > MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        Ok(address)
    }

    /// The local part without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain in lower-case A-labels without a trailing dot, or an address
    /// literal in brackets.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether both addresses are probably the same mailbox. Local parts that
    /// differ only in case count as the same.
    pub fn same_mailbox(&self, other: &Address) -> bool {
        self.domain == other.domain && same_local(&self.local, &other.local)
    }

    /// Whether only a peer that offers SMTPUTF8 (RFC 6531) can accept the address.
    pub(crate) fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }

    /// The address for SMTP and headers, with A-labels, quoted only if necessary.
    pub fn to_wire(&self) -> String {
        self.to_string()
    }

    /// Whether the local part needs no quotes. Then no program on the way can
    /// misread the address.
    pub fn is_plain(&self) -> bool {
        is_dot_atom(&self.local)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_dot_atom(&self.local) {
            f.write_str(&self.local)?;
        } else {
            f.write_char('"')?;
            for c in self.local.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_char('\\')?;
                }
                f.write_char(c)?;
            }
            f.write_char('"')?;
        }
        write!(f, "@{}", self.domain)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Whether two local parts are the same except for case.
pub(super) fn same_local(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || one.to_lowercase() == other.to_lowercase()
}

/// A path without its source route, which is obsolete (RFC 5321 appendix C).
pub(super) fn without_route(path: &str) -> &str {
    match path.split_once(':') {
        Some((route, mailbox)) if route.starts_with('@') => mailbox,
        _ => path,
    }
}

/// Splits a text at the `@` that ends its local part.
fn split(text: &str) -> Result<(&str, &str), AddressError> {
    let local_end = if text.starts_with('"') {
        enclosed_length(text, '"').ok_or(AddressError::Local)?
    } else {
        text.find('@').ok_or(AddressError::NoDomain)?
    };
    let (local, rest) = text.split_at(local_end);
    let domain = rest.strip_prefix('@').ok_or(AddressError::NoDomain)?;
    Ok((local, domain))
}

fn parse_local(text: &str) -> Result<String, AddressError> {
    let quoted = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        Some(inner) => unquote(inner).ok_or(AddressError::Local),
        None if is_dot_atom(text) => Ok(text.to_owned()),
        None => Err(AddressError::Local),
    }
}

/// The content of a quoted string. RFC 5321 allows no control character in it,
/// escaped or not.
fn unquote(inner: &str) -> Option<String> {
    let mut local = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' { chars.next()? } else { c };
        if is_control(c) {
            return None;
        }
        local.push(c);
    }
    (!local.is_empty()).then_some(local)
}

/// Control characters, and the two characters that some readers take for line ends.
pub(super) fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// The characters of RFC 5322 3.2.3, and of RFC 6531 3.3 beyond ASCII. Blanks
/// and control characters of Unicode are refused like those of ASCII.
fn is_atext(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
    } else {
        !c.is_whitespace() && !is_control(c)
    }
}

fn parse_domain(text: &str) -> Result<String, AddressError> {
    match text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(literal) => parse_literal(literal).ok_or(AddressError::Domain),
        None => parse_name(text),
    }
}

/// An address literal, RFC 5321 4.1.3.
fn parse_literal(text: &str) -> Option<String> {
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            let ip: Ipv6Addr = text.get(5..)?.parse().ok()?;
            Some(format!("[IPv6:{ip}]"))
        }
        _ => {
            let ip: Ipv4Addr = text.parse().ok()?;
            Some(format!("[{ip}]"))
        }
    }
}

/// A domain name in its one form. Underscores are accepted, as some hosts have them.
fn parse_name(text: &str) -> Result<String, AddressError> {
    if text.contains(is_typographic_quote) {
        return Err(AddressError::Domain);
    }
    let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::URL)
        .map_err(|_| AddressError::Domain)?;
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    let well_formed = name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    if !well_formed {
        return Err(AddressError::Domain);
    }
    if !idna::uts46::verify_dns_length(name, false) {
        return Err(AddressError::TooLong);
    }
    Ok(name.to_owned())
}

/// IDNA 2008 forbids these quotes (RFC 5892 2.6), but the crate `idna` accepts them.
fn is_typographic_quote(c: char) -> bool {
    matches!(c, '«' | '»' | '‹' | '›' | '\u{2018}'..='\u{201f}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    fn wire(text: &str) -> String {
        Address::parse(text).unwrap().to_wire()
    }

    #[test]
    fn one_form_of_each_domain() {
        for domain in ["kms.example.org", "KMS.Example.ORG", "kms.example.org."] {
            assert_eq!(wire(&format!("a@{domain}")), "a@kms.example.org");
        }
        for domain in ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"] {
            assert_eq!(wire(&format!("a@{domain}")), "a@xn--bcher-kva.example");
        }
    }

    #[test]
    fn quotes_only_where_they_must_be() {
        assert_eq!(wire("\"gateway\"@x.org"), "gateway@x.org");
        assert_eq!(wire("\"g\\a\\\"b\"@x.org"), "\"ga\\\"b\"@x.org");
        assert_eq!(wire("\"two words\"@x.org"), "\"two words\"@x.org");
        assert_eq!(wire("\"a@b\"@x.org"), "\"a@b\"@x.org");
    }

    #[test]
    fn address_literals() {
        assert_eq!(wire("a@[127.0.0.1]"), "a@[127.0.0.1]");
        assert_eq!(wire("a@[ipv6:0::1]"), "a@[IPv6:::1]");
        assert_eq!(Address::parse("a@[x]"), Err(AddressError::Domain));
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for text in [
            "",
            "a",
            "@x.org",
            "a@",
            "a@@x.org",
            "a b@x.org",
            "a@x y.org",
            "a@x.org b",
            "<a@x.org>",
            "a@x..org",
            ".a@x.org",
            "a.@x.org",
            "a@-x.org",
            "a@x.org\r\n",
            "a\r\n@x.org",
            "\"a\nb\"@x.org",
            "\"a\"b@x.org",
            "\"a@x.org",
            "\"\"@x.org",
            "a\u{a0}b@x.org",
            "a@x.org>",
            "a@.",
            "a@x!y.org",
            "a\u{2028}b@x.org",
            "\"a\u{85}b\"@x.org",
            "a@b@x.org",
            "a@x.org\u{201d}",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lengths_have_limits() {
        let label = "d".repeat(63);
        assert!(Address::parse(&format!("{}@x.org", "a".repeat(248))).is_ok());
        assert_eq!(
            Address::parse(&format!("{}@x.org", "a".repeat(249))),
            Err(AddressError::TooLong)
        );
        assert!(Address::parse(&format!("a@{label}.org")).is_ok());
        assert!(Address::parse(&format!("a@d{label}.org")).is_err());
        let long = format!("{}@{label}.{label}.{label}.org", "a".repeat(62));
        assert_eq!(Address::parse(&long), Err(AddressError::TooLong));
    }

    #[test]
    fn a_local_part_that_is_not_ascii_needs_smtputf8() {
        assert!(Address::parse("jürgen@x.org").unwrap().needs_smtputf8());
        assert!(!Address::parse("a@bücher.example").unwrap().needs_smtputf8());
    }

    #[test]
    fn one_mailbox_whatever_its_case() {
        let one = Address::parse("User@x.org").unwrap();
        let other = Address::parse("uSER@X.org").unwrap();
        assert!(one.same_mailbox(&other) && one != other);
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_what_is_taken_is_safe(
            text in "\\PC*|[a\"\\\\@.\\[\\]<> \r\n\t:é]{0,20}@[a-zé.\\[\\]\r\n-]{0,20}"
        ) {
            if let Ok(address) = Address::parse(&text) {
                let wire = address.to_wire();
                prop_assert!(!wire.contains(|c: char| c.is_control()));
                prop_assert_eq!(Address::parse(&wire), Ok(address));
            }
        }
    }
}
