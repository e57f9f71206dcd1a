//! Errors of a security module, with their remedies.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::{
    kms::{PointError, klf::OpenError},
    secrets::RandomError,
    sts::{FieldError, RecordError, SmId, StsTime, file::FileError},
};

/// Why a security module refuses, with the remedy. Never holds a secret.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// The file exists, and a module is never overwritten.
    #[error("{} exists already; choose another file, for its keys would be lost", path.display())]
    Exists {
        /// The state file.
        path: PathBuf,
    },
    /// Group or others may read or write the state.
    #[error("{path} holds secrets and is open to others (mode {mode:04o}); run chmod 600 {path}", path = path.display())]
    Mode {
        /// The state file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process uses the module.
    #[error("{} is in use by another process; try again when it is done", path.display())]
    InUse {
        /// The state file.
        path: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}; check that it is there, its permissions and the free space", path.display())]
    Io {
        /// The operation as a verb, such as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason of the operating system.
        source: io::Error,
    },
    /// The file isn't a module's state.
    #[error("{} is not the state of a security module: {source}; restore it or make a new module", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// The first fault in it. Shows no content, which may be secret.
        source: StateError,
    },
    /// The state can't be written as JSON.
    #[error("cannot write the state: {0}; report this as a bug")]
    Serialisation(#[source] serde_json::Error),
    /// No random bytes for a key.
    #[error("{0}; try again")]
    Random(#[from] RandomError),
    /// The KMC would not answer a request for this key.
    #[error(
        "the KMC's public key expired at {expiry}; fetch the current one with {{KMS:GetPublicKey}}"
    )]
    KeyExpired {
        /// The time when the key expired.
        expiry: StsTime,
    },
    /// The KMC's public key is not valid.
    #[error("the KMC's public key is not valid: {0}; fetch it again with {{KMS:GetPublicKey}}")]
    PublicKey(#[source] PointError),
    /// The bytes aren't a file of records.
    #[error("this is not a key load file: {0}; save the attachment of the reply again as it is")]
    File(#[from] FileError),
    /// The file holds other records.
    #[error("this is not a key load file: {0}; save the attachment of the reply, no other file")]
    Response(#[source] RecordError),
    /// The file is for another module.
    #[error("the key load file is for the module {found}; open it with that module")]
    OtherModule {
        /// The module that can open the file.
        found: SmId,
    },
    /// The module has no key to open the file.
    #[error(
        "no request of {request_time} is open: its key load file was opened before, \
         or it was made with another copy of this module; make a new request"
    )]
    NoRequest {
        /// The time of the request, as the file states it.
        request_time: StsTime,
    },
    /// The file doesn't match the request, or was changed.
    #[error(
        "{0}; save the attachment again, and if that doesn't help make a new request \
         and have the KMC check this module's registration"
    )]
    Open(#[source] OpenError),
}

/// A flaw in a state file's content. Never holds any text that could be secret.
#[derive(Debug, Error)]
pub enum StateError {
    /// The content is not JSON, or has other fields than a state. The error
    /// shows none of it, as it may be a secret in the wrong place.
    #[error("line {line}, column {column}: not valid as the JSON of a state")]
    Json {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// An identifier or name is malformed.
    #[error("{name}: {source}")]
    Field {
        /// The field of the state.
        name: &'static str,
        /// The reason why its text is refused.
        source: FieldError,
    },
    /// A record is malformed.
    #[error("a pending request: {0}")]
    Record(#[from] RecordError),
    /// A public key of the KMC or a private key is not valid.
    #[error("a pending request: {0}")]
    Point(#[from] PointError),
    /// A secret has the wrong length or is not hexadecimal.
    #[error("{name}: not the hexadecimal digits of a key of this length")]
    Secret {
        /// The field of the state.
        name: &'static str,
    },
}
