//! The facts by which the policy judges a message.

use crate::mail::{Address, Client, GatewayAddresses, Headers, ReversePath, Structure};

use super::dnsbl;
use super::settings::Settings;

/// The port by which a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Postfix's smtpd that talks to the world.
    Outer,
    /// The listener behind Postfix's own transport, for mail that reached the queue
    /// without passing the gateway. Every recipient there is the gateway's,
    /// the client is Postfix, and nothing may be rejected or passed on.
    Internal,
}

/// The facts that are known at RCPT.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The port by which the message came in.
    pub listener: Listener,
    /// The client that handed the message to Postfix.
    pub client: Client,
    /// The argument of MAIL.
    pub reverse_path: &'a ReversePath,
    /// The recipients so far that are valid addresses. No other is the gateway's.
    pub recipients: &'a [Address],
    /// The gateway's own addresses.
    pub gateway: &'a GatewayAddresses,
    /// The DNS blocklists' score of the client; None if they were not asked.
    pub dnsbl: Option<&'a dnsbl::Score>,
}

/// The facts that are known at the end of a message.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The facts that were known at RCPT.
    pub envelope: Envelope<'a>,
    /// The header fields of the message.
    pub headers: &'a Headers,
    /// The MIME parts of the message.
    pub structure: &'a Structure<'a>,
    /// The octets of the whole message.
    pub size: u64,
    /// The settings in force.
    pub settings: &'a Settings,
}
