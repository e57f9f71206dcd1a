//! The allowances that a request is taken out of. Nobody can use up another's
//! allowance by writing their address. Pure; knows no SMTP and no store.

use std::fmt::{self, Display, Formatter};

use crate::mail::Address;

use super::requester::{ClientNetwork, Sender, Trust};
use super::throttle::{Allowance, Excess};

/// The name of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ThrottleKey {
    /// A security module, by its SMID.
    Module(String),
    /// An address whose mail is authenticated. Other mail never counts here.
    Authenticated(Address),
    /// An address and the network that wrote it.
    Address(Address, Option<ClientNetwork>),
    /// All addresses of a domain whose mail is authenticated.
    Domain(String),
    /// A network, whatever addresses it writes.
    Network(ClientNetwork),
    /// An address that is answered, whoever asks.
    Target(Address),
    /// An address that is answered because a security module or the site's own
    /// networks ask. No stranger can use it up.
    TrustedTarget(Address),
    /// All addresses that were never answered, together.
    Newcomers,
    /// The addresses never answered that one network writes.
    NewcomersFrom(ClientNetwork),
    /// All new addresses that verified senders name beside their own.
    Introduced,
    /// All notices to strangers, together.
    Notices,
    /// All notices to strangers that one network brings about.
    NoticesFor(ClientNetwork),
}

/// The form in the store, and the form that an operator reads and gives.
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
            ThrottleKey::Target(address) => write!(f, "target {}", mailbox(address)),
            ThrottleKey::TrustedTarget(address) => {
                write!(f, "trusted target {}", mailbox(address))
            }
            ThrottleKey::Newcomers => f.write_str("newcomers"),
            ThrottleKey::NewcomersFrom(network) => write!(f, "newcomers from {network}"),
            ThrottleKey::Introduced => f.write_str("introduced"),
            ThrottleKey::Notices => f.write_str("notices"),
            ThrottleKey::NoticesFor(network) => write!(f, "notices for {network}"),
        }
    }
}

/// The address in lower case. Capitals give nobody a second allowance.
#[must_use]
pub(crate) fn mailbox(address: &Address) -> String {
    address.to_string().to_lowercase()
}

/// A bucket and what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The name of the bucket.
    pub(crate) key: ThrottleKey,
    /// The amount that the bucket allows.
    pub(crate) allowance: Allowance,
}

/// The allowances that a request is taken out of. The request is done when all of
/// them allow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charges {
    /// The sender's own allowance, the only one that can block. It does not block an
    /// address of no known network.
    pub(crate) sender: Option<Charge>,
    /// The allowances that the sender shares with others: its domain's or network's,
    /// and that of each answered address.
    pub(crate) shared: Vec<Charge>,
    /// The allowance that the new ones among the answered addresses share.
    pub(crate) newcomers: Option<Newcomers>,
    /// The allowances that the notice of a delay is taken out of. Without room
    /// there the request is not taken. Empty if only the sender's own allowance bounds
    /// its notices.
    pub(crate) notices: Vec<Charge>,
}

/// Addresses that get the reply, and the allowances that the new ones share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Newcomers {
    /// The addresses in lower case, known ones too.
    pub(crate) addresses: Vec<String>,
    /// The allowances of all new addresses together, and of one network's.
    pub(crate) pools: Vec<Charge>,
}

/// The allowances that the settings give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowances {
    /// The allowance of one sender.
    pub(crate) sender: Allowance,
    /// How many times as much a network or a domain may ask, and how many times as
    /// much an address gets that modules or the site's own networks have answered.
    pub(crate) many: u32,
    /// The allowance of an address that anybody else has answered.
    pub(crate) target: Allowance,
    /// The allowance of all newcomers together, and of all notices to strangers.
    pub(crate) newcomers: Allowance,
}

impl Allowances {
    /// The allowances of a request of `sender` whose reply goes to `targets`.
    pub fn charges(&self, sender: &Sender, targets: &[Address]) -> Charges {
        let many = key_of_many(sender).map(|key| Charge {
            key,
            allowance: self.sender.enlarged(self.many),
        });
        let others = targets_but_itself(sender, targets);
        Charges {
            sender: Some(Charge {
                key: own_key(sender),
                allowance: self.own_allowance(sender),
            }),
            shared: many
                .into_iter()
                .chain(others.iter().map(|target| self.target(sender, target)))
                .collect(),
            newcomers: self.newcomers(sender, &others),
            notices: match sender.trust() {
                Trust::Stranger => self.pools(
                    ThrottleKey::Notices,
                    foreign_network(sender).map(ThrottleKey::NoticesFor),
                ),
                Trust::Verified | Trust::SitesOwn => Vec::new(),
            },
        }
    }

    /// Without a known network nothing distinguishes a forger's mail from the mail of
    /// the address's owner. A block would hit the owner too.
    fn own_allowance(&self, sender: &Sender) -> Allowance {
        match sender {
            Sender::Unknown { network: None, .. } => Allowance {
                excess: Excess::Defer,
                ..self.sender
            },
            _ => self.sender,
        }
    }

    /// The allowance of an answered address, so that nobody is flooded, whoever asks.
    /// Modules and the site's own networks have a second one, which no stranger can use
    /// up.
    fn target(&self, sender: &Sender, target: &Address) -> Charge {
        match sender {
            Sender::Module(_)
            | Sender::Unknown {
                is_trusted: true, ..
            } => Charge {
                key: ThrottleKey::TrustedTarget(target.clone()),
                allowance: self.sender.enlarged(self.many),
            },
            Sender::LoggedIn(_) | Sender::Authenticated(_) | Sender::Unknown { .. } => Charge {
                key: ThrottleKey::Target(target.clone()),
                allowance: self.target,
            },
        }
    }

    /// Bounds the mail to addresses that the gateway never wrote to. Otherwise a
    /// sender could have it write to anybody.
    fn newcomers(&self, sender: &Sender, targets: &[&Address]) -> Option<Newcomers> {
        let pools = match sender {
            Sender::Module(_) => return None,
            // Apart from the strangers' allowance, so that those can't use it up.
            Sender::LoggedIn(_) | Sender::Authenticated(_) => {
                self.pools(ThrottleKey::Introduced, None)
            }
            Sender::Unknown { .. } => self.pools(
                ThrottleKey::Newcomers,
                foreign_network(sender).map(ThrottleKey::NewcomersFrom),
            ),
        };
        let addresses: Vec<String> = targets.iter().copied().map(mailbox).collect();
        (!addresses.is_empty()).then_some(Newcomers { addresses, pools })
    }

    /// The allowance of all together, and half of it for one network.
    fn pools(&self, all: ThrottleKey, of_network: Option<ThrottleKey>) -> Vec<Charge> {
        let all = Charge {
            key: all,
            allowance: self.newcomers,
        };
        let of_network = of_network.map(|key| Charge {
            key,
            allowance: self.newcomers.halved(),
        });
        [all].into_iter().chain(of_network).collect()
    }
}

/// The targets without the address that the sender proved to be its own.
fn targets_but_itself<'a>(sender: &Sender, targets: &'a [Address]) -> Vec<&'a Address> {
    let itself = sender.own_address().map(mailbox);
    targets
        .iter()
        .filter(|target| Some(mailbox(target)) != itself)
        .collect()
}

fn foreign_network(sender: &Sender) -> Option<ClientNetwork> {
    match sender {
        Sender::Unknown {
            network,
            is_foreign: true,
            ..
        } => *network,
        _ => None,
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
        other => foreign_network(other).map(ThrottleKey::Network),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::net::IpAddr;

    use super::*;
    use crate::policy::Throttle;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn unknown(target: &str, client: &str) -> Sender {
        Sender::Unknown {
            target: address(target),
            network: Some(client.parse::<IpAddr>().unwrap().into()),
            is_foreign: true,
            is_trusted: false,
        }
    }

    fn charges(sender: &Sender, targets: &[&str]) -> Charges {
        let targets: Vec<Address> = targets.iter().map(|text| address(text)).collect();
        Throttle::default().allowances().charges(sender, &targets)
    }

    fn keys(sender: &Sender) -> (String, Option<String>) {
        let charges = charges(sender, &[]);
        (
            charges.sender.unwrap().key.to_string(),
            charges.shared.first().map(|charge| charge.key.to_string()),
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
            is_trusted: true,
        };
        assert_eq!(charges(&own, &[]).shared, []);
        assert_eq!(charges(&own, &[]).notices, []);
        let logged_in = Sender::LoggedIn(address("jane@vendor.example"));
        assert_eq!(charges(&logged_in, &[]).shared, []);
    }

    #[test]
    fn only_the_senders_own_allowance_can_block() {
        let charges = charges(&unknown("a@b.example", "192.0.2.1"), &["a@b.example"]);
        let pools = charges.newcomers.unwrap().pools;
        for charge in charges.shared.iter().chain(&pools).chain(&charges.notices) {
            let can_block = matches!(charge.allowance.excess, Excess::Block { .. });
            assert!(!can_block, "{charge:?}");
        }
    }

    #[test]
    fn an_address_of_no_known_network_is_not_blocked() {
        let excess = |network| {
            let sender = Sender::Unknown {
                target: address("a@b.example"),
                network,
                is_foreign: false,
                is_trusted: false,
            };
            charges(&sender, &[]).sender.unwrap().allowance.excess
        };
        assert_eq!(excess(None), Excess::Defer);
        let known = Some(IpAddr::from([192, 0, 2, 1]).into());
        assert!(matches!(excess(known), Excess::Block { .. }));
    }

    #[test]
    fn each_target_has_an_allowance_whoever_asks() {
        let keys = |sender: &Sender| -> Vec<String> {
            let charges = charges(sender, &["v@victim.example", "jane@vendor.example"]);
            let shared = charges.shared.iter().map(|charge| charge.key.to_string());
            shared.filter(|key| key.contains("target ")).collect()
        };
        assert_eq!(
            keys(&unknown("v@victim.example", "192.0.2.1")),
            ["target v@victim.example", "target jane@vendor.example"]
        );
        let jane = Sender::Authenticated(address("jane@vendor.example"));
        assert_eq!(keys(&jane), ["target v@victim.example"]);
        assert_eq!(
            keys(&Sender::Module(String::new())),
            [
                "trusted target v@victim.example",
                "trusted target jane@vendor.example"
            ]
        );
    }

    #[test]
    fn one_network_has_half_of_what_strangers_share() {
        let charges = charges(&unknown("v@x.example", "192.0.2.1"), &["v@x.example"]);
        let newcomers = charges.newcomers.unwrap().pools;
        for (pools, names) in [
            (newcomers, ["newcomers", "newcomers from 192.0.2.0/24"]),
            (charges.notices, ["notices", "notices for 192.0.2.0/24"]),
        ] {
            let keys: Vec<String> = pools.iter().map(|own| own.key.to_string()).collect();
            assert_eq!(keys, names);
            assert_eq!(pools[1].allowance, pools[0].allowance.halved());
        }
    }

    #[test]
    fn who_is_known_may_name_himself_and_nobody_new() {
        let sender = Sender::Authenticated(address("jane@vendor.example"));
        assert_eq!(charges(&sender, &["JANE@vendor.example"]).newcomers, None);
        let others = charges(&sender, &["jane@vendor.example", "v@victim.example"]);
        let others = others.newcomers.unwrap();
        assert_eq!(others.addresses, ["v@victim.example"]);
        assert_eq!(others.pools[0].key, ThrottleKey::Introduced);
        let module = Sender::Module(String::new());
        assert_eq!(charges(&module, &["jane@vendor.example"]).newcomers, None);
        let forged = charges(
            &unknown("v@victim.example", "192.0.2.1"),
            &["v@victim.example"],
        );
        assert!(forged.newcomers.is_some());
    }
}
