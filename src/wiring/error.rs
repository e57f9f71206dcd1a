//! Errors of reading, changing and comparing Postfix's configuration.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::config::ConfigError;

/// The reason why the wiring can't be read, changed or compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WiringError {
    /// A condition is not met. The text says what is wrong, where, and what to do.
    #[error("{0}")]
    Refused(String),
    /// A program of Postfix failed.
    #[error("{command} failed: {reason}")]
    Program {
        /// The command as it is typed.
        command: String,
        /// The program's error output, or the reason why it did not start.
        reason: String,
    },
    /// A file that can't be read or written.
    #[error("{}: can't be {action}: {source}", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The action that failed: `read`, `written`, …
        action: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
    /// gateway.toml can't be read or changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl WiringError {
    pub(super) fn refused<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self::Refused(text.into()))
    }

    pub(super) fn file(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            path,
            action,
            source,
        }
    }
}
