//! What is wrong with a master secret, and what helps.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::secrets::secret::RandomError;

/// What is wrong with a master secret, where, and what helps. Never holds a
/// byte of it.
#[derive(Debug, Error)]
pub enum MasterSecretError {
    /// Missing, or not to be read by us.
    #[error("cannot read the master secret {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("the master secret {} is no regular file: name the file itself", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Group or others may do what only the owner should.
    #[error(
        "the master secret {path} is open to others (mode {mode:04o}): run chmod 600 {path}",
        path = path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Whoever owns a file can change it.
    #[error(
        "the master secret {path} belongs to user {owner}, who is neither root nor the user \
         of this process, {ourselves}: run chown {ourselves} {path}",
        path = path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective user of this process.
        ourselves: u32,
    },
    /// Anything but the one spelling.
    #[error(
        "{origin} is not 64 hexadecimal digits, the 32 bytes of a master secret: \
         give back the right one, or for a new installation make one by openssl rand -hex 32"
    )]
    Spelling {
        /// The file or variable.
        origin: String,
    },
    /// Not started by systemd, or without credentials.
    #[error(
        "there is no credential {name}: $CREDENTIALS_DIRECTORY is not set; \
         add LoadCredential={name}:FILE to the service's unit"
    )]
    NoCredentials {
        /// Name of the credential.
        name: String,
    },
    /// A name that would lead out of the credentials directory.
    #[error("{name:?} is no name of a systemd credential: it is one file name")]
    CredentialName {
        /// The name as configured.
        name: String,
    },
    /// The variable is not set.
    #[error("the environment variable {variable}, configured for the master secret, is not set")]
    NoVariable {
        /// Name of the variable.
        variable: String,
    },
    /// A master secret is never overwritten.
    #[error(
        "{path} exists already: a master secret is never overwritten, \
         for what it sealed would be lost; name another file",
        path = path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A new file could not be written.
    #[error("cannot write the master secret {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A new secret could not be made.
    #[error(transparent)]
    Random(#[from] RandomError),
}
