//! Keys: their life, their updates, an external KMS, and secrets that stay
//! sealed.

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

/// The life of KMC keys and vending keys.
mod key_life;

/// Modules are named by a beginning of their SMID.
mod names;

/// Update files by mail.
mod module_updates;

/// An external key management system.
mod remote_kms;

/// No secret leaves its seal.
mod secrets;

/// Locked memory, and no core dump.
mod locked_memory;

/// The files that a change of secret touches.
mod secret_files;

/// Another master secret, another storage key.
mod secret_change;
