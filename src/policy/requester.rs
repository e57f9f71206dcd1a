//! The sender of a request, as far as it is known. Pure; knows no SMTP and no
//! store.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use crate::as_text::words;
use crate::mail::Address;

/// The sender of a request, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The SMID of the security module whose MAC is in the request.
    Module(String),
    /// The address of a client that logged in to our own Postfix (SASL).
    LoggedIn(Address),
    /// The author's address, whose domain authenticated the message.
    Authenticated(Address),
    /// Anybody else.
    Unknown {
        /// The first address that gets the reply.
        target: Address,
        /// The client's network; None if it is not known.
        network: Option<ClientNetwork>,
        /// Whether the network has an allowance too. The site's own has none.
        is_foreign: bool,
        /// Whether it is one of the site's own networks.
        is_trusted: bool,
    },
}

impl Sender {
    /// How far the sender can be believed.
    pub(crate) fn trust(&self) -> Trust {
        match self {
            Sender::Module(_) | Sender::LoggedIn(_) | Sender::Authenticated(_) => Trust::Verified,
            Sender::Unknown {
                is_trusted: true, ..
            } => Trust::SitesOwn,
            Sender::Unknown { .. } => Trust::Stranger,
        }
    }

    /// The address that the sender proved to be its own.
    pub(crate) fn own_address(&self) -> Option<&Address> {
        match self {
            Sender::LoggedIn(address) | Sender::Authenticated(address) => Some(address),
            Sender::Module(_) | Sender::Unknown { .. } => None,
        }
    }

    /// The network of an unknown sender, if it is known.
    pub(crate) fn network(&self) -> Option<ClientNetwork> {
        match self {
            Sender::Unknown { network, .. } => *network,
            _ => None,
        }
    }

    /// How many addresses may get the reply, within the setting. Of the addresses
    /// that a stranger names, most may never have asked.
    pub(crate) fn most_targets(&self) -> usize {
        match self.trust() {
            Trust::Verified | Trust::SitesOwn => usize::MAX,
            Trust::Stranger => 1,
        }
    }
}

/// The proof that a message is its sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A module's MAC, a login, or a domain that authenticated the message.
    Verified,
    /// Only the network, which is one of the site's own.
    SitesOwn,
    /// Nothing: any address may be forged.
    Stranger,
}

words! {
    /// The sender's trust, with what the store remembers of the address. The spool
    /// keeps the word.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Requester {
        /// See [`Trust::Verified`].
        Verified = "verified",
        /// See [`Trust::SitesOwn`].
        SitesOwn = "own",
        /// A stranger under an address that a verified request from the same
        /// network was answered at.
        Known = "known",
        /// A stranger under an address that was answered before.
        Answered = "answered",
        /// A stranger under an address that was never answered.
        Newcomer = "newcomer",
    }
}

impl Requester {
    /// Whether a forger could have written the request, so that the answered
    /// address may never have asked.
    pub(crate) const fn may_be_forged(self) -> bool {
        matches!(self, Requester::Answered | Requester::Newcomer)
    }
}

/// A word that names no requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the word of a requester")]
pub(crate) struct UnknownRequester;

impl FromStr for Requester {
    type Err = UnknownRequester;

    fn from_str(word: &str) -> Result<Self, UnknownRequester> {
        Self::named(word).ok_or(UnknownRequester)
    }
}

/// The network of an SMTP client: the part of its address that costs an
/// attacker something to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    /// A /24.
    V4(Ipv4Addr),
    /// A /64.
    V6(Ipv6Addr),
}

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                ClientNetwork::V4(Ipv4Addr::from_bits(address.to_bits() & (!0 << 8)))
            }
            IpAddr::V6(address) => {
                ClientNetwork::V6(Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)))
            }
        }
    }
}

impl Display for ClientNetwork {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ClientNetwork::V4(network) => write!(f, "{network}/24"),
            ClientNetwork::V6(network) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_requester_is_read_from_its_word() {
        for requester in Requester::ALL {
            assert_eq!(requester.as_str().parse(), Ok(requester));
        }
        assert_eq!("nobody".parse::<Requester>(), Err(UnknownRequester));
    }
}
