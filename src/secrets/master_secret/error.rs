//! The faults of a master secret.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::secrets::secret::RandomError;

/// Says what is wrong with a master secret, where, and what helps. Never holds a
/// byte of the secret.
#[derive(Debug, Error)]
pub enum MasterSecretError {
    /// The file is missing, or this process may not read it.
    #[error("cannot read the master secret {}: {source}", path.display())]
    Read {
        /// Path as given.
        path: PathBuf,
        /// Reason given by the operating system.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("the master secret {} is no regular file: name the file itself", path.display())]
    NotRegular {
        /// Path as given.
        path: PathBuf,
    },
    /// Group or others have rights that only the owner should have.
    #[error(
        "the master secret {path} is open to others (mode {mode:04o}): run chmod 600 {path}",
        path = path.display()
    )]
    Mode {
        /// Path as given.
        path: PathBuf,
        /// Permission bits of the file.
        mode: u32,
    },
    /// Another user owns the file, and the owner of a file can change it.
    #[error(
        "the master secret {path} belongs to user {owner}, who is neither root nor the user \
         of this process, {ourselves}: run chown {ourselves} {path}",
        path = path.display()
    )]
    Owner {
        /// Path as given.
        path: PathBuf,
        /// User id of the file's owner.
        owner: u32,
        /// Effective user id of this process.
        ourselves: u32,
    },
    /// The text is not 64 hexadecimal digits.
    #[error(
        "{origin} is not 64 hexadecimal digits, the 32 bytes of a master secret: \
         give back the right one, or for a new installation make one by openssl rand -hex 32"
    )]
    Spelling {
        /// Path, or variable with its `$`.
        origin: String,
    },
    /// systemd did not start this process, or gave it no credentials.
    #[error(
        "there is no credential {name}: $CREDENTIALS_DIRECTORY is not set; \
         add LoadCredential={name}:FILE to the service's unit"
    )]
    NoCredentials {
        /// The credential that is missing.
        name: String,
    },
    /// A name that would lead out of the credentials directory.
    #[error("{name:?} is no name of a systemd credential: it is one file name")]
    CredentialName {
        /// The configured name.
        name: String,
    },
    /// The configured environment variable is not set.
    #[error("the environment variable {variable}, configured for the master secret, is not set")]
    NoVariable {
        /// The configured variable.
        variable: String,
    },
    /// The file exists; a master secret is never overwritten.
    #[error(
        "{path} exists already: a master secret is never overwritten, \
         because everything it sealed would be lost; name another file",
        path = path.display()
    )]
    Exists {
        /// Path as given.
        path: PathBuf,
    },
    /// The new file could not be written.
    #[error("cannot write the master secret {}: {source}", path.display())]
    Write {
        /// Path as given.
        path: PathBuf,
        /// Reason given by the operating system.
        source: io::Error,
    },
    /// The operating system gave no random bytes for a new secret.
    #[error(transparent)]
    Random(#[from] RandomError),
}
