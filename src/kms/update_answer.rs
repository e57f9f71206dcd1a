//! A module update put to the key management system, and its answer.

use jiff::Timestamp;
use thiserror::Error;

use super::{curve::Fingerprint, issue::Effects, update::SignatureFailure};
use crate::{
    request_id::RequestId,
    sts::{KmcId, SmId},
};

/// A file that came with a request.
#[derive(Clone, Debug)]
pub struct UpdateQuestion {
    /// The accepted request that carried it.
    pub request_id: RequestId,
    /// The file as it was attached.
    pub file: Vec<u8>,
    /// When the gateway accepted it: the STSA's keys are judged at that time.
    pub accepted_at: Timestamp,
    /// When it is answered.
    pub now: Timestamp,
}

/// The answer to an [`UpdateQuestion`].
#[derive(Clone, Debug)]
pub enum Update {
    /// What is to be written: the file counts as applied once its effects are
    /// committed.
    Applied(Box<Applied>),
    /// The same file was applied before.
    AlreadyApplied {
        /// Its serial.
        serial: u32,
    },
    /// Nothing of it is applied.
    Refused(UpdateRefusal),
}

/// A file that is to be applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its serial.
    pub serial: u32,
    /// The key that signed it.
    pub signer: Fingerprint,
    /// The modules that may ask by it.
    pub added: Vec<SmId>,
    /// Those that may no longer.
    pub revoked: Vec<SmId>,
    /// What must be committed with the reply.
    pub effects: Effects,
}

/// Why an update file is not applied, in the order in which it is found out.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UpdateRefusal {
    /// It is no update file, or contradicts itself or the tables.
    #[error("{0}")]
    Format(String),
    /// Nobody's word.
    #[error("the signature is refused: {0}")]
    Signature(SignatureFailure),
    /// A file was left out, or this one comes too late.
    #[error("the next serial of this key of the STSA's is {expected}")]
    Serial {
        /// The one that would be taken.
        expected: u32,
    },
    /// Made for a KMC key that is not served.
    #[error("the update file was made for another KMC key than {current}")]
    Kmc {
        /// The key that the STSA should use.
        current: KmcId,
    },
}
