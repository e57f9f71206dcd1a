//! Policy through a real Postfix: whose mail is answered, ignored, deferred or
//! refused.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall panic"
)]

#[path = "../harness/mod.rs"]
mod harness;

/// The gateway in To, Cc and Bcc.
mod recipients;

/// Other gateways, lists, responders and bounces start no loop.
mod loops;

/// Sender authentication by OpenDKIM.
mod authentication;

/// Allowances, blocks and their notices.
mod floods;

/// DNS blocklists by rbldnsd.
mod dnsbl;

/// Name servers and zones of DNS blocklists.
mod dnsbl_zones;

/// Header fields that act nowhere.
mod hostile_headers;

/// `explain` agrees with the milter.
mod explained;
