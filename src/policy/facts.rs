//! What the policy knows of a message when it judges it.

use crate::mail::{Address, Client, GatewayAddresses, Headers, ReversePath, Structure};

use super::dnsbl;
use super::settings::Settings;

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
