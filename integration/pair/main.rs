//! Two gateways on one PostgreSQL database, each beside its own Postfix, give the results of one:
//! no request is lost or answered twice, whatever dies, stops or is cut off.

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

/// The two sites.
mod sites;

/// The audit log that they share.
mod log;

/// Requests, and whether each was answered once.
mod requests;

/// A socket in front of the server's, which can be cut.
mod wire;

/// The gateways and the server killed, again and again.
mod deaths;

/// One message handed to both.
mod copies;

/// One allowance for both.
mod allowance;

/// A machine's clock that is wrong.
mod clocks;

/// The server dead, and its standby in its place.
mod failover;

/// A gateway that stops and wakes too late.
mod stopped;

/// The server away for a time.
mod away;

/// Connections to the server that are cut.
mod cut;

/// Both behind one pooler.
mod pooler;
