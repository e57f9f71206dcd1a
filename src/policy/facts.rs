//! What the policy knows of a message when it judges it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::mail::{Address, Client, GatewayAddresses, Headers, ReversePath, Structure};

use super::dnsbl;

/// Where a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Postfix's smtpd that talks to the world.
    Outer,
    /// The listener behind Postfix's own transport: what reached the queue
    /// without passing the gateway. Every recipient there is the gateway's,
    /// the client is Postfix, and nothing may be rejected or passed on.
    Internal,
}

/// What is known at RCPT.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Where it came in.
    pub listener: Listener,
    /// Who handed it to Postfix.
    pub client: Client,
    /// The argument of MAIL.
    pub reverse_path: &'a ReversePath,
    /// The recipients so far; those that are no valid address aren't the gateway's.
    pub recipients: &'a [Address],
    /// The gateway's own addresses.
    pub gateway: &'a GatewayAddresses,
    /// What DNS blocklists say of the client; none where they weren't asked.
    pub dnsbl: Option<&'a dnsbl::Score>,
}

/// What is known at the end of a message.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What was known before.
    pub envelope: Envelope<'a>,
    /// Its header fields.
    pub headers: &'a Headers,
    /// Its parts.
    pub structure: &'a Structure<'a>,
    /// The octets of all of it.
    pub size: u64,
    /// The limits.
    pub settings: &'a Settings,
}

/// The limits of the rules, and whom they take at their word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Clients that are neither looked up in blocklists nor asked for
    /// authentication, and whose networks have no allowance.
    pub trusted_networks: Vec<IpNet>,
    /// Rule `sender-authentication`: whose word counts.
    pub authentication: Authentication,
    /// Rule `hops`: the most Received fields.
    pub max_received: usize,
    /// Rule `malformed`: the most header fields.
    pub max_headers: usize,
    /// Rule `malformed`: the most octets of all header fields together.
    pub max_header_bytes: usize,
    /// Rule `size`: the most octets of a message.
    pub max_message_bytes: u64,
    /// Rule `size`: the most octets, as sent, of the attachments that a service doesn't expect.
    pub max_unexpected_attachment_bytes: u64,
    /// The most addresses that one request is answered to.
    pub max_targets: usize,
}

/// Whose `Authentication-Results` (RFC 8601) are believed, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// The site's own authserv-ids; without any nobody is believed.
    pub authserv_ids: Vec<String>,
    /// Whether only authenticated mail is answered.
    pub is_required: bool,
}

impl Settings {
    /// Whether a client is one of the site's own: by its login, or by its address.
    #[must_use]
    pub fn trusts(&self, client: &Client) -> bool {
        client.authenticated
            || client
                .address
                .is_some_and(|address| self.is_trusted(address))
    }

    /// Whether an address is in a trusted network.
    #[must_use]
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// Where programs of the host itself connect from.
fn loopback() -> Vec<IpNet> {
    vec![
        Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
        Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
    ]
}

impl Default for Settings {
    /// Hops as in Exim's `received_headers_max`, header octets as in
    /// Exchange's `MaxHeaderSize`; a message may hold the largest update file
    /// in base64, and a signature's logo isn't an attachment worth minding.
    fn default() -> Self {
        Settings {
            trusted_networks: loopback(),
            authentication: Authentication::default(),
            max_received: 30,
            max_headers: 500,
            max_header_bytes: 256 * 1024,
            max_message_bytes: 2 * 1024 * 1024,
            max_unexpected_attachment_bytes: 64 * 1024,
            max_targets: 5,
        }
    }
}
