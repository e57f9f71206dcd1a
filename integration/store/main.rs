//! The store: durable, sound after any end, and honest about damage.

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

/// The audit log as an operator reads and an attacker falsifies it.
mod audit;

/// 250 means that the request is on disk.
mod durability;

/// A power cut at any moment.
mod power_cut;

/// A database that is damaged or of a newer version.
mod damage;

/// A backup under load, and its restore.
mod backup;

/// A PostgreSQL server as the store.
mod postgresql;

/// Everything moved from SQLite to PostgreSQL and back.
mod copy;

/// The store full, at its reserve and read-only.
mod store_trouble;
