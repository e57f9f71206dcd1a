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

/// The reason why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The configuration is missing, unreadable or not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The blocklists' name servers are not known.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// The database can't be opened, read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The master secret can't be read or made.
    #[error(transparent)]
    MasterSecret(#[from] MasterSecretError),
    /// The storage key, which seals the other keys, can't be opened.
    #[error(transparent)]
    StorageKey(#[from] StorageKeyError),
    /// The key management system has no answer.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The system gives no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The tables of the key management system can't be read or changed.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// Any other reason.
    #[error("{0}")]
    Other(String),
}

impl GatewayError {
    /// A file that can't be `action`: read, written, made.
    pub(crate) fn file(path: &Path, action: &str, error: &io::Error) -> Self {
        Self::Other(format!("{}: can't be {action}: {error}", path.display()))
    }

    /// Whether the database is damaged.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_damage())
    }

    pub(crate) fn other(text: impl fmt::Display) -> Self {
        Self::Other(text.to_string())
    }
}
