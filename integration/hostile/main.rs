//! Attackers, at the milter port and through a real Postfix. These tests raise
//! the limit of open files of their own process, so they share it with no
//! others.

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

/// Peers that are slow, silent, confused or hostile.
mod hostile_packets;

/// Garbage in packets.
mod garbage;

/// More connections and content than there is room for.
mod capacity;

/// Strangers against victims, the spool and honest requests.
mod attackers;
