//! Installation: a new gateway, its place in Postfix, its systemd unit and the
//! demonstration.

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

/// `init` with options and at a terminal.
mod setting_up;

/// `postfix install` and `uninstall`: the files.
mod installer;

/// The same, killed at any moment.
mod installer_killed;

/// Mail after `postfix install`.
mod installed;

/// `postfix check`: differences and remedies.
mod postfix_check;

/// No setting of main.cf reaches the gateway's services.
mod hostile_main_cf;

/// The systemd unit, and what it forbids.
mod sandbox;

/// `scripts/demo --gateway FILE`.
mod demonstration;
