//! The SMTP envelope: the client that connected, and the address for failures.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use super::address::{Address, without_route};
use super::address_list::from_addresses;
use super::header::Headers;

/// The SMTP client that handed the message to Postfix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// `None` for a Unix socket, or if Postfix doesn't know.
    pub(crate) address: Option<IpAddr>,
    /// Whether the client logged in by SASL.
    pub(crate) authenticated: bool,
}

/// The argument of MAIL (RFC 5321 4.1.1.2). Delivery writes it as Return-Path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`: a bounce, or another message that must not be answered.
    Null,
    /// A syntactically valid mailbox.
    Address(Address),
    /// Anything else, as received.
    Invalid(String),
}

impl ReversePath {
    /// Reads `<…>`. The brackets may be missing, and a source route is skipped
    /// (RFC 5321 appendix C). An empty argument is null: Postfix gives one for
    /// mail that didn't come by SMTP.
    pub fn from_smtp(argument: &str) -> Self {
        let path = argument.trim_matches(' ');
        let path = path
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'))
            .unwrap_or(path);
        if path.is_empty() {
            return ReversePath::Null;
        }
        match Address::parse(without_route(path)) {
            Ok(address) => ReversePath::Address(address),
            Err(_) => ReversePath::Invalid(argument.to_owned()),
        }
    }

    /// The reverse path of a delivered message, from its header alone: the
    /// Return-Path that delivery noted (RFC 5321 4.4), else the first From
    /// address, else null.
    pub fn of_delivered(headers: &Headers) -> Self {
        match headers.first("Return-Path") {
            Some(field) => Self::from_smtp(field.unfolded().trim()),
            None => from_addresses(headers)
                .into_iter()
                .next()
                .map_or(Self::Null, Self::Address),
        }
    }

    /// The mailbox, if there is a valid one.
    pub fn address(&self) -> Option<&Address> {
        match self {
            ReversePath::Address(address) => Some(address),
            ReversePath::Null | ReversePath::Invalid(_) => None,
        }
    }
}

/// Writes the path without brackets. A null path is empty. An invalid one is
/// written as received.
impl Display for ReversePath {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Address(address) => address.fmt(f),
            ReversePath::Invalid(argument) => f.write_str(argument),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reverse_paths() {
        assert_eq!(ReversePath::from_smtp("<>"), ReversePath::Null);
        assert_eq!(ReversePath::from_smtp(""), ReversePath::Null);
        let user = ReversePath::Address(Address::parse("user@x.org").unwrap());
        for argument in ["<user@x.org>", "user@x.org", "<@a.org,@b.org:user@X.org.>"] {
            assert_eq!(ReversePath::from_smtp(argument), user, "{argument}");
        }
        for argument in [
            "<user>",
            "<user@x.org",
            "<a b@x.org>",
            "< >",
            "<user@x_y..org>",
        ] {
            assert_eq!(
                ReversePath::from_smtp(argument),
                ReversePath::Invalid(argument.to_owned())
            );
        }
    }
}
