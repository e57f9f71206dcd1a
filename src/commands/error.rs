//! What ends a command: one line that says what, where and what to do.

use std::{fmt, io, path::Path};

use crate::{
    config::ConfigError,
    dnsbl::ResolverError,
    kms::{KmsError, PemError, TablesError, VendingKeyError, administration::AdministrationError},
    secrets::{MasterSecretError, RandomError, StorageKeyError},
    security_module::ModuleError,
    store::{BackupError, StoreError},
    wiring::WiringError,
};

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name servers that blocklists are asked by.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A copy of the database.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The master secret.
    #[error(transparent)]
    MasterSecret(#[from] MasterSecretError),
    /// The key that seals the others.
    #[error(transparent)]
    StorageKey(#[from] StorageKeyError),
    /// The key management system.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// A private key in a file.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A vending key that was given.
    #[error(transparent)]
    VendingKey(#[from] VendingKeyError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The tables of the key management system.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// Keys, modules and what may be done with them.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
    /// The software security module.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// Postfix's configuration.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The command can't be meant so: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    /// A file that can't be read or written.
    pub(super) fn file(path: &Path, action: &str, error: &io::Error) -> Self {
        Self::Other(format!("{}: can't be {action}: {error}", path.display()))
    }

    /// What the command line lacks that only shows when it is carried out.
    pub(super) fn usage(text: impl fmt::Display) -> Self {
        Self::Usage(text.to_string())
    }

    /// Anything else.
    pub(super) fn other(text: impl fmt::Display) -> Self {
        Self::Other(text.to_string())
    }
}
