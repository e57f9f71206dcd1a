//! Faults around a running gateway: it ends, hangs or waits, and still answers
//! each request once.

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

/// Signals while the gateway starts.
mod starting;

/// The end on SIGTERM.
mod graceful;

/// The gateway killed at each place that counts.
mod deaths;

/// The gateway away, dead or hung while mail comes.
mod outage;

/// Postfix's reply port slow, dead or refusing.
mod reply_port;

/// Replies that wait, and the notice to the requester.
mod late;

/// A clock that jumps.
mod clock;

/// A log that cannot be written.
mod log_trouble;
