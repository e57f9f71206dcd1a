//! What a security module can't do, and what helps.

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
    /// A module is never overwritten.
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
    /// Another process is at work on the module.
    #[error("{} is in use by another process; try again when it is done", path.display())]
    InUse {
        /// The state file.
        path: PathBuf,
    },
    /// The system doesn't do what is needed.
    #[error("cannot {action} {}: {source}; check that it is there, its permissions and the free space", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file isn't a module's state.
    #[error("{} is not the state of a security module: {source}; restore it or make a new module", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        source: StateError,
    },
    /// The state can't be written as JSON.
    #[error("cannot write the state: {0}; report this as a bug")]
    Serialisation(#[source] serde_json::Error),
    /// No random bytes for a key.
    #[error("{0}; try again")]
    Random(#[from] RandomError),
    /// Nobody would answer a request under this key.
    #[error(
        "the KMC's public key expired at {expiry}; fetch the present one by {{KMS:GetPublicKey}}"
    )]
    KeyExpired {
        /// When it expired.
        expiry: StsTime,
    },
    /// The KMC's key is no key.
    #[error("the KMC's public key is of no use: {0}; fetch it again by {{KMS:GetPublicKey}}")]
    PublicKey(#[source] PointError),
    /// The bytes aren't a file of records.
    #[error("this is not a key load file: {0}; save the attachment of the reply again as it is")]
    File(#[from] FileError),
    /// It is a file of other records.
    #[error("this is not a key load file: {0}; save the attachment of the reply, no other file")]
    Response(#[source] RecordError),
    /// The file is for somebody else.
    #[error("the key load file is for the module {found}; open it there")]
    OtherModule {
        /// The module that it is for.
        found: SmId,
    },
    /// There is no key to open it with.
    #[error(
        "no request of {request_time} is open: its key load file was opened before, \
         or it was made with another copy of this module; make a new request"
    )]
    NoRequest {
        /// The request's time by the file.
        request_time: StsTime,
    },
    /// The file doesn't fit the request, or was changed.
    #[error(
        "{0}; save the attachment again, and if that doesn't help make a new request \
         and have the KMC check this module's registration"
    )]
    Open(#[source] OpenError),
}

/// What is wrong with a state file's content. Never holds a part of it that
/// could be secret.
#[derive(Debug, Error)]
pub enum StateError {
    /// Not JSON, or not of the fields that a state has. What stands there
    /// instead isn't shown: it may be a secret in the wrong place.
    #[error("line {line}, column {column}: not as the JSON of a state continues")]
    Json {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// A name that isn't one.
    #[error("{name}: {source}")]
    Field {
        /// The field of the state.
        name: &'static str,
        /// What is wrong with it.
        source: FieldError,
    },
    /// A record that isn't one.
    #[error("a pending request: {0}")]
    Record(#[from] RecordError),
    /// A key of the KMC that isn't one, or a number that is no private key.
    #[error("a pending request: {0}")]
    Point(#[from] PointError),
    /// A secret of wrong length or with other digits.
    #[error("{name}: not the hexadecimal digits of such a key")]
    Secret {
        /// The field of the state.
        name: &'static str,
    },
}
