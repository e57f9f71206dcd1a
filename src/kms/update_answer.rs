//! A question to apply an update file of the STSA's, and its answer.

use jiff::Timestamp;
use thiserror::Error;

use super::{curve::Fingerprint, issue::Effects, update::SignatureFailure};
use crate::{
    request_id::RequestId,
    sts::{KmcId, SmId},
};

/// An update file that came with a request.
#[derive(Clone, Debug)]
pub struct UpdateQuestion {
    /// The accepted request that carried it.
    pub(crate) request_id: RequestId,
    /// The attachment, byte for byte.
    pub(crate) file: Vec<u8>,
    /// When the gateway accepted the request. The STSA's keys must be valid at
    /// that time.
    pub(crate) accepted_at: Timestamp,
    /// When the request is answered.
    pub(crate) now: Timestamp,
}

/// The answer to an [`UpdateQuestion`].
#[derive(Clone, Debug)]
pub enum Update {
    /// The file is good. It counts as applied once its effects are committed.
    Applied(Box<Applied>),
    /// The same file was applied before.
    AlreadyApplied {
        /// Serial of the file.
        serial: u32,
    },
    /// No part of the file is applied.
    Refused(UpdateRefusal),
}

/// An update file to apply.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Serial of the file.
    pub(crate) serial: u32,
    /// Fingerprint of the STSA key that signed the file.
    pub(crate) signer: Fingerprint,
    /// Modules that the file adds.
    pub(crate) added: Vec<SmId>,
    /// Modules that the file revokes.
    pub(crate) revoked: Vec<SmId>,
    /// Changes to commit together with the reply.
    pub(crate) effects: Effects,
}

/// Why an update file is not applied, in the order of the checks.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UpdateRefusal {
    /// The file is malformed, or contradicts itself or the tables.
    #[error("{0}")]
    Format(String),
    /// No configured STSA key signed the file.
    #[error("the signature is refused: {0}")]
    Signature(SignatureFailure),
    /// A file before this one is missing, or this one comes too late.
    #[error("the next serial of this key of the STSA's is {expected}")]
    Serial {
        /// The serial that would be taken.
        expected: u32,
    },
    /// Made for a KMC key that does not serve.
    #[error("the update file was made for another KMC key than {current}")]
    Kmc {
        /// The key that the STSA should use.
        current: KmcId,
    },
}
