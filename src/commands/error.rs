//! What ends a command: one line that says what, where and what to do.

use std::{fmt, io, path::Path};

use crate::{
    gateway::GatewayError,
    kms::{PemError, VendingKeyError, administration::AdministrationError},
    security_module::ModuleError,
    store::BackupError,
    wiring::WiringError,
};

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The parts of the gateway itself: configuration, store, keys, ports.
    #[error(transparent)]
    Gateway(GatewayError),
    /// A copy of the database.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A private key in a file.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A vending key that was given.
    #[error(transparent)]
    VendingKey(#[from] VendingKeyError),
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
