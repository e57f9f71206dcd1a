//! The error that ends a command: one line with what is wrong, where, and what to
//! do.

use std::{fmt, io, path::Path};

use crate::{
    gateway::GatewayError,
    kms::{PemError, VendingKeyError, administration::AdministrationError},
    security_module::ModuleError,
    store::{BackupError, CopyError},
    wiring::WiringError,
};

/// The reason why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The gateway's own parts failed: configuration, store, keys or ports.
    #[error(transparent)]
    Gateway(GatewayError),
    /// The database can't be backed up.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The database can't be moved.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The PEM file of a private key can't be read or made.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A given vending key is not one.
    #[error(transparent)]
    VendingKey(#[from] VendingKeyError),
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

/// Every error that can end the gateway can end a command.
impl<E> From<E> for CommandError
where
    GatewayError: From<E>,
{
    fn from(error: E) -> Self {
        Self::Gateway(error.into())
    }
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

    pub(super) fn other(text: impl fmt::Display) -> Self {
        Self::Other(text.to_string())
    }
}
