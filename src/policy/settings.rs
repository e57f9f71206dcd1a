//! The settings of the rules, as the configuration has them, with their defaults.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::mail::Client;
use crate::time::Period;

use super::charges::Allowances;
use super::network::Network;
use super::throttle::{Allowance, Excess};

/// The settings that the rules need to judge a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[policy]`.
    pub(crate) limits: Limits,
    /// `[sender_authentication]`.
    pub authentication: Authentication,
    /// `reply.max_targets`: the most addresses that get the reply to one request.
    pub max_targets: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            limits: Limits::default(),
            authentication: Authentication::default(),
            max_targets: 5,
        }
    }
}

impl Settings {
    /// Whether a client is one of the site's own, by its login or its address.
    pub(crate) fn trusts(&self, client: &Client) -> bool {
        client.authenticated
            || client
                .address
                .is_some_and(|address| self.is_trusted(address))
    }

    /// Whether an address is in a trusted network.
    pub(crate) fn is_trusted(&self, address: IpAddr) -> bool {
        self.limits
            .trusted_networks
            .iter()
            .any(|network| network.0.contains(&address))
    }
}

/// `[policy]`: limits that the rules apply.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Clients that are neither looked up in blocklists nor asked for
    /// authentication, and whose networks have no allowance: as `mynetworks`.
    pub(crate) trusted_networks: Vec<Network>,
    /// More `Received` fields than this are a loop: rule `hops`.
    pub(crate) max_received: usize,
    /// Bytes of a message, headers included: rule `size`.
    pub(crate) max_message_bytes: u64,
    /// Bytes, as sent, of attachments that the service does not expect: rule `size`.
    pub(crate) max_unexpected_attachment_bytes: u64,
    /// Header fields of a message: rule `malformed`.
    pub(crate) max_headers: usize,
    /// Bytes of all header fields: rule `malformed`.
    pub(crate) max_header_bytes: usize,
}

impl Default for Limits {
    /// Hops as in Exim's `received_headers_max`, header bytes as in Exchange's
    /// `MaxHeaderSize`. A message may hold the largest update file in base64. A
    /// signature's logo stays below the limit for attachments.
    fn default() -> Self {
        Limits {
            trusted_networks: loopback(),
            max_received: 30,
            max_message_bytes: 2 * 1024 * 1024,
            max_unexpected_attachment_bytes: 64 * 1024,
            max_headers: 500,
            max_header_bytes: 256 * 1024,
        }
    }
}

/// The networks from which programs of this host connect.
fn loopback() -> Vec<Network> {
    vec![
        Network(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into()),
        Network(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into()),
    ]
}

/// `[sender_authentication]`: the verifiers of SPF, DKIM and DMARC that the
/// gateway believes, by their `Authentication-Results` (RFC 8601).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authentication {
    /// The authserv-ids of the site's own verifiers. Without any the rule
    /// `sender-authentication` is off.
    pub authserv_ids: Vec<String>,
    /// Whether the gateway answers only mail that SPF or DKIM passed in alignment
    /// with its author, or DMARC.
    pub(crate) require: bool,
}

/// `[throttle]`: how much a sender may ask: rules `flood` and `blocked`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// Requests of one sender that are done at once.
    pub(crate) at_once: u32,
    /// The time after which one more is done; the others wait.
    pub(crate) every: Period,
    /// A sender with more requests than this, done or waiting, is blocked.
    pub(crate) block_above: u32,
    /// The shortest time of a block. It lasts until the sender is within its
    /// allowance again.
    pub(crate) block_for: Period,
    /// How many times as much a whole client network may ask, or a domain whose
    /// mail is authenticated. Requests above that only wait.
    pub(crate) network_factor: u32,
    /// How many times as long as `every` it takes until one more mail goes to an
    /// address that strangers have answered; `at_once` of them go at once.
    pub(crate) target_factor: u32,
    /// Requests that are done at once of all addresses together that never
    /// asked before.
    pub(crate) newcomers_at_once: u32,
    /// The time after which one more of those is done.
    pub(crate) newcomers_every: Period,
}

impl Default for Throttle {
    /// A person never writes twenty requests within minutes. A program that
    /// asks for a hundred modules at once gets all its answers within the hour.
    fn default() -> Self {
        Throttle {
            at_once: 20,
            every: Period::from_secs(30),
            block_above: 100,
            block_for: Period::from_secs(3600),
            network_factor: 20,
            target_factor: 4,
            newcomers_at_once: 100,
            newcomers_every: Period::from_secs(10),
        }
    }
}

impl Throttle {
    /// The allowances that follow from these settings.
    pub fn allowances(&self) -> Allowances {
        let sender = Allowance {
            at_once: self.at_once,
            every: self.every.as_signed(),
            excess: Excess::Block {
                above: self.block_above,
                lasting: self.block_for.as_signed(),
            },
        };
        Allowances {
            sender,
            many: self.network_factor,
            target: sender.for_target(self.target_factor),
            newcomers: Allowance {
                at_once: self.newcomers_at_once,
                every: self.newcomers_every.as_signed(),
                excess: Excess::Defer,
            },
        }
    }
}
