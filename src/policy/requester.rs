//! Who sends a request, as far as that is known. Pure; knows no SMTP and no
//! store.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use crate::mail::Address;

/// Who sent a request, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The security module whose MAC is in the request: its SMID.
    Module(String),
    /// Who logged in to our own Postfix (SASL) under this address.
    LoggedIn(Address),
    /// An address of a domain that authenticated the message.
    Authenticated(Address),
    /// Whoever it was.
    Unknown {
        /// The first address that gets the reply.
        target: Address,
        /// Where it came from; none where that is not known.
        network: Option<ClientNetwork>,
        /// Whether the network has an allowance too: not the site's own.
        is_foreign: bool,
        /// Whether it is one of the site's own networks.
        is_trusted: bool,
    },
}

impl Sender {
    /// How far the message can be the sender's at all.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match self {
            Sender::Module(_) | Sender::LoggedIn(_) | Sender::Authenticated(_) => Trust::Verified,
            Sender::Unknown {
                is_trusted: true, ..
            } => Trust::SitesOwn,
            Sender::Unknown { .. } => Trust::Stranger,
        }
    }

    /// The address that it proved to be its own.
    #[must_use]
    pub fn own_address(&self) -> Option<&Address> {
        match self {
            Sender::LoggedIn(address) | Sender::Authenticated(address) => Some(address),
            Sender::Module(_) | Sender::Unknown { .. } => None,
        }
    }

    /// The network that it came from, where that says something of it.
    #[must_use]
    pub fn network(&self) -> Option<ClientNetwork> {
        match self {
            Sender::Unknown { network, .. } => *network,
            _ => None,
        }
    }

    /// How many addresses its request may have answered, within the setting: the
    /// more a stranger names, the more of them never asked.
    #[must_use]
    pub fn most_targets(&self) -> usize {
        match self.trust() {
            Trust::Verified | Trust::SitesOwn => usize::MAX,
            Trust::Stranger => 1,
        }
    }
}

/// What vouches for a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A module's MAC, a login, or a domain that authenticated the message.
    Verified,
    /// Nothing but the network, which is one of the site's own.
    SitesOwn,
    /// Nothing: any address may be forged.
    Stranger,
}

/// The same, with what is remembered of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// See [`Trust::Verified`].
    Verified,
    /// See [`Trust::SitesOwn`].
    SitesOwn,
    /// A stranger under an address that a verified request from the same
    /// network was answered at.
    Known,
    /// A stranger under an address that was answered before.
    Answered,
    /// A stranger under an address that was never answered.
    Newcomer,
}

impl Requester {
    /// Each with its word.
    pub const ALL: [Requester; 5] = [
        Requester::Verified,
        Requester::SitesOwn,
        Requester::Known,
        Requester::Answered,
        Requester::Newcomer,
    ];

    /// The word by which the spool keeps it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Requester::Verified => "verified",
            Requester::SitesOwn => "own",
            Requester::Known => "known",
            Requester::Answered => "answered",
            Requester::Newcomer => "newcomer",
        }
    }

    /// Whether a forger could have written it, so that the address that is
    /// answered may never have asked.
    #[must_use]
    pub const fn may_be_forged(self) -> bool {
        matches!(self, Requester::Answered | Requester::Newcomer)
    }
}

impl Display for Requester {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the word of a requester")]
pub struct UnknownRequester;

impl FromStr for Requester {
    type Err = UnknownRequester;

    fn from_str(word: &str) -> Result<Self, UnknownRequester> {
        Self::ALL
            .into_iter()
            .find(|own| own.as_str() == word)
            .ok_or(UnknownRequester)
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
