//! The gateway in the hands of its operator: configuration, commands, logs,
//! metrics and systemd.

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

/// A bad configuration ends `serve` with one line.
mod configuration;

/// `check` refuses exactly what `serve` refuses.
mod check;

/// `config` shows and changes one key.
mod configuration_command;

/// Lists and findings as JSON.
mod json;

/// The queue: what waits, and orders to retry and to drop.
mod queue;

/// The queue after a flood.
mod queue_flood;

/// SIGHUP.
mod reload;

/// Notifications to systemd.
mod systemd;

/// The log as people, machines and the journal read it.
mod log_lines;

/// Metrics and probes.
mod watching;

/// Dashboard and alerts.
mod monitoring;

/// Standard output that is full, closed or unread.
mod standard_streams;
