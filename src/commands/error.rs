//! The error that ends a command: one line with what is wrong, where, and what to
//! do.

use std::{fmt, io, path::Path};

use crate::{
    config::ConfigError,
    dnsbl::ResolverError,
    kms::{
        KmsError, MasterSecretError, PemError, RandomError, StorageKeyError, TablesError,
        VendingKeyError, administration::AdministrationError,
    },
    security_module::ModuleError,
    store::{BackupError, StoreError},
    wiring::WiringError,
};

/// The reason why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration is missing, unreadable or not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The blocklists' name servers are not known.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// The database can't be opened, read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database can't be copied.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The master secret can't be read or made.
    #[error(transparent)]
    MasterSecret(#[from] MasterSecretError),
    /// The storage key, which seals the other keys, can't be opened.
    #[error(transparent)]
    StorageKey(#[from] StorageKeyError),
    /// The key management system has no answer.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The PEM file of a private key can't be read or made.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A given vending key is not one.
    #[error(transparent)]
    VendingKey(#[from] VendingKeyError),
    /// The system gives no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The tables of the key management system can't be read or changed.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// A change of keys or modules was refused.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
    /// The software security module refused.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// Postfix's configuration can't be read or changed.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The command line is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Any other reason.
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    /// A file that can't be `action`: read, written, made.
    pub(super) fn file(path: &Path, action: &str, error: &io::Error) -> Self {
        Self::at(path, format_args!("can't be {action}: {error}"))
    }

    /// A file with a problem, and the remedy.
    pub(crate) fn at(path: &Path, problem: impl fmt::Display) -> Self {
        Self::Other(format!("{}: {problem}", path.display()))
    }

    /// A wrong command line that clap could not find.
    pub(super) fn usage(text: impl fmt::Display) -> Self {
        Self::Usage(text.to_string())
    }

    /// Any other reason.
    pub(super) fn other(text: impl fmt::Display) -> Self {
        Self::Other(text.to_string())
    }
}
