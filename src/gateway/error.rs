//! Errors that keep the gateway from running: one line that says what is wrong,
//! where, and what to do.

use std::{fmt, io, path::Path};

use crate::{
    config::ConfigError,
    dnsbl::ResolverError,
    kms::{KmsError, StorageKeyError, TablesError},
    secrets::{MasterSecretError, RandomError},
    store::StoreError,
};

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name servers that blocklists are asked by.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The master secret.
    #[error(transparent)]
    MasterSecret(#[from] MasterSecretError),
    /// The key that seals the others.
    #[error(transparent)]
    StorageKey(#[from] StorageKeyError),
    /// The key management system.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The tables of the key management system.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl GatewayError {
    /// A file that can't be read or written.
    pub(crate) fn file(path: &Path, action: &str, error: &io::Error) -> Self {
        Self::Other(format!("{}: can't be {action}: {error}", path.display()))
    }

    /// Anything else.
    pub(crate) fn other(text: impl fmt::Display) -> Self {
        Self::Other(text.to_string())
    }
}
