//! Whose allowances a request is taken out of, so that nobody can use up
//! another's by writing his address. Pure; knows no SMTP and no store.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::SignedDuration;

use crate::mail::Address;

use super::throttle::{Allowance, Excess};

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
    },
}

impl Sender {
    /// Whether something shows that the request is this sender's: a MAC, a login
    /// or the domain's authentication.
    #[must_use]
    pub fn is_vouched_for(&self) -> bool {
        !matches!(self, Sender::Unknown { .. })
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

/// Names a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottleKey {
    /// A security module.
    Module(String),
    /// An address whose mail is authenticated. Other mail never counts here.
    Authenticated(Address),
    /// An address and the network that wrote it.
    Address(Address, Option<ClientNetwork>),
    /// All addresses of a domain whose mail is authenticated.
    Domain(String),
    /// A network, whatever addresses it writes.
    Network(ClientNetwork),
    /// Everybody who never asked before, together.
    Newcomers,
}

/// As it is kept, and as an operator reads and gives it.
impl Display for ThrottleKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ThrottleKey::Module(smid) => write!(f, "module {smid}"),
            ThrottleKey::Authenticated(address) => {
                write!(f, "authenticated {}", mailbox(address))
            }
            ThrottleKey::Address(address, Some(network)) => {
                write!(f, "address {} from {network}", mailbox(address))
            }
            ThrottleKey::Address(address, None) => write!(f, "address {}", mailbox(address)),
            ThrottleKey::Domain(domain) => write!(f, "domain {domain}"),
            ThrottleKey::Network(network) => write!(f, "network {network}"),
            ThrottleKey::Newcomers => f.write_str("newcomers"),
        }
    }
}

/// Nobody gets an allowance more by writing his address in capitals.
#[must_use]
pub fn mailbox(address: &Address) -> String {
    address.to_string().to_lowercase()
}

/// A bucket and what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The bucket.
    pub key: ThrottleKey,
    /// What it allows.
    pub allowance: Allowance,
}

/// The allowances that a request is taken out of. It is done when all of them
/// allow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charges {
    /// The sender's own, the only one that can block.
    pub sender: Option<Charge>,
    /// That of a domain or a network, of which the sender is one of many.
    pub many: Option<Charge>,
    /// That of all who never asked before, for each of these addresses that
    /// didn't.
    pub newcomers: Option<Newcomers>,
}

/// Addresses that get the reply, and what those among them share that are new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomers {
    /// The addresses.
    pub addresses: Vec<String>,
    /// What is allowed to all new ones together.
    pub allowance: Allowance,
}

/// The allowances as they are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// One sender's.
    pub sender: Allowance,
    /// How many times as much a network or a domain has.
    pub many: u32,
    /// That of all newcomers together.
    pub newcomers: Allowance,
}

impl Default for Throttle {
    /// A person never writes twenty requests within minutes; a program that
    /// asks for a hundred modules at once gets all its answers within the hour.
    fn default() -> Self {
        Self {
            sender: Allowance {
                at_once: 20,
                every: SignedDuration::from_secs(30),
                excess: Excess::Block {
                    above: 100,
                    lasting: SignedDuration::from_hours(1),
                },
            },
            many: 20,
            newcomers: Allowance {
                at_once: 100,
                every: SignedDuration::from_secs(10),
                excess: Excess::Defer,
            },
        }
    }
}

impl Throttle {
    /// The allowances that a request of `sender` is taken out of, its reply
    /// going to `targets`.
    #[must_use]
    pub fn charges(&self, sender: &Sender, targets: &[Address]) -> Charges {
        Charges {
            sender: Some(Charge {
                key: own_key(sender),
                allowance: self.sender,
            }),
            many: key_of_many(sender).map(|key| Charge {
                key,
                allowance: self.sender.enlarged(self.many),
            }),
            newcomers: self.newcomers(sender, targets),
        }
    }

    /// Whoever can make the gateway write to addresses that it never wrote to
    /// could have it write to anybody. A sender that is known may name himself.
    fn newcomers(&self, sender: &Sender, targets: &[Address]) -> Option<Newcomers> {
        let itself = match sender {
            Sender::Module(_) => return None,
            Sender::LoggedIn(address) | Sender::Authenticated(address) => Some(mailbox(address)),
            Sender::Unknown { .. } => None,
        };
        let addresses: Vec<String> = targets
            .iter()
            .map(mailbox)
            .filter(|target| Some(target) != itself.as_ref())
            .collect();
        (!addresses.is_empty()).then_some(Newcomers {
            addresses,
            allowance: self.newcomers,
        })
    }
}

fn own_key(sender: &Sender) -> ThrottleKey {
    match sender {
        Sender::Module(smid) => ThrottleKey::Module(smid.clone()),
        Sender::LoggedIn(address) | Sender::Authenticated(address) => {
            ThrottleKey::Authenticated(address.clone())
        }
        Sender::Unknown {
            target, network, ..
        } => ThrottleKey::Address(target.clone(), *network),
    }
}

fn key_of_many(sender: &Sender) -> Option<ThrottleKey> {
    match sender {
        Sender::Authenticated(address) => Some(ThrottleKey::Domain(address.domain().to_owned())),
        Sender::Unknown {
            network: Some(network),
            is_foreign: true,
            ..
        } => Some(ThrottleKey::Network(*network)),
        Sender::Module(_) | Sender::LoggedIn(_) | Sender::Unknown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn unknown(target: &str, client: &str) -> Sender {
        Sender::Unknown {
            target: address(target),
            network: Some(client.parse::<IpAddr>().unwrap().into()),
            is_foreign: true,
        }
    }

    fn charges(sender: &Sender, targets: &[&str]) -> Charges {
        let targets: Vec<Address> = targets.iter().map(|text| address(text)).collect();
        Throttle::default().charges(sender, &targets)
    }

    fn keys(sender: &Sender) -> (String, Option<String>) {
        let charges = charges(sender, &[]);
        (
            charges.sender.unwrap().key.to_string(),
            charges.many.map(|charge| charge.key.to_string()),
        )
    }

    #[test]
    fn buckets_are_named_for_operators() {
        assert_eq!(
            keys(&unknown("Jane@Vendor.example", "192.0.2.77")),
            (
                "address jane@vendor.example from 192.0.2.0/24".to_owned(),
                Some("network 192.0.2.0/24".to_owned())
            )
        );
        assert_eq!(
            keys(&unknown("jane@vendor.example", "2001:db8:1:2:3:4:5:6")).0,
            "address jane@vendor.example from 2001:db8:1:2::/64"
        );
        assert_eq!(
            keys(&unknown("jane@vendor.example", "::ffff:192.0.2.77")).0,
            "address jane@vendor.example from 192.0.2.0/24"
        );
        assert_eq!(
            keys(&Sender::Authenticated(address("jane@vendor.example"))),
            (
                "authenticated jane@vendor.example".to_owned(),
                Some("domain vendor.example".to_owned())
            )
        );
        assert_eq!(
            keys(&Sender::Module("SMID.1:…".to_owned())),
            ("module SMID.1:…".to_owned(), None)
        );
    }

    #[test]
    fn mail_that_nothing_authenticates_spends_nothing_of_the_authenticated() {
        let forged = keys(&unknown("jane@vendor.example", "198.51.100.1"));
        let own = keys(&Sender::Authenticated(address("jane@vendor.example")));
        let elsewhere = keys(&unknown("jane@vendor.example", "192.0.2.1"));
        assert!(forged.0 != own.0 && forged.1 != own.1);
        assert!(forged.0 != elsewhere.0 && forged.1 != elsewhere.1);
    }

    #[test]
    fn the_sites_own_networks_have_no_allowance() {
        let own = Sender::Unknown {
            target: address("jane@vendor.example"),
            network: None,
            is_foreign: false,
        };
        assert_eq!(charges(&own, &[]).many, None);
        let logged_in = Sender::LoggedIn(address("jane@vendor.example"));
        assert_eq!(charges(&logged_in, &[]).many, None);
    }

    #[test]
    fn only_the_senders_own_allowance_can_block() {
        let charges = charges(&unknown("a@b.example", "192.0.2.1"), &["a@b.example"]);
        assert_eq!(charges.many.unwrap().allowance.excess, Excess::Defer);
        assert_eq!(charges.newcomers.unwrap().allowance.excess, Excess::Defer);
    }

    #[test]
    fn who_is_known_may_name_himself_and_nobody_new() {
        let sender = Sender::Authenticated(address("jane@vendor.example"));
        assert_eq!(charges(&sender, &["JANE@vendor.example"]).newcomers, None);
        let others = charges(&sender, &["jane@vendor.example", "v@victim.example"]);
        assert_eq!(others.newcomers.unwrap().addresses, ["v@victim.example"]);
        let module = Sender::Module(String::new());
        assert_eq!(charges(&module, &["jane@vendor.example"]).newcomers, None);
        let forged = charges(
            &unknown("v@victim.example", "192.0.2.1"),
            &["v@victim.example"],
        );
        assert!(forged.newcomers.is_some());
    }
}
