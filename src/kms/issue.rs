//! A question for a key load file, its answer, and what the answer changes.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::{
    curve::Fingerprint,
    rows::ModuleRow,
    tables::{Revision, TablesError},
};
use crate::{
    request_id::RequestId,
    secrets::{DoesNotOpen, RandomError},
    sts::{KmcId, Krn, PkEcdh, PointText, Record, Sgc, SmId, StsTime, VkloadReq},
};

/// The answer to `{KMS:GetPublicKey}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeyAnswer {
    /// The current public key.
    pub record: PkEcdh,
    /// Its fingerprint (records.md, section 5).
    pub fingerprint: Fingerprint,
}

/// Who asks for what, and when.
#[derive(Clone, Debug)]
pub struct IssueQuestion {
    /// The accepted request that carried the record.
    pub request_id: RequestId,
    /// The record, whose form and checksum have been found good.
    pub request: VkloadReq,
    /// When the gateway accepted it: freshness is judged at that time, so that
    /// a deferral of ours expires nothing.
    pub accepted_at: Timestamp,
    /// When it is answered: keys are chosen for that time.
    pub now: Timestamp,
}

/// The answer to an [`IssueQuestion`].
#[derive(Clone, Debug)]
pub enum Issue {
    /// A key load file.
    Granted(Box<Grant>),
    /// None, for a reason that is the requester's to mend.
    Refused(Refusal),
}

/// A key load file that has been made and is issued once its effects are
/// committed.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The file, record by record.
    pub key_load_file: Vec<Record>,
    /// What must be committed with the reply.
    pub effects: Effects,
    /// The vending keys in the file, in its order.
    pub keys: Vec<(Sgc, Krn)>,
}

/// Why no key load file is issued, in the order in which it is found out
/// (records.md, section 6).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Too old when it was accepted.
    #[error("the VKLOAD.REQ.1 was too old when it was accepted at {now}")]
    Expired {
        /// The time at which that was judged.
        now: StsTime,
    },
    /// Too far ahead when it was accepted.
    #[error("the VKLOAD.REQ.1 was from the future when it was accepted at {now}")]
    Future {
        /// The time at which that was judged.
        now: StsTime,
    },
    /// Made for a KMC key that is not served.
    #[error("the VKLOAD.REQ.1 was made for another KMC key than {current}")]
    Kmc {
        /// The key that the module should use.
        current: KmcId,
    },
    /// Not by a module that may ask; one answer for every cause.
    #[error("the VKLOAD.REQ.1 is not authentic: {0}")]
    Authentication(AuthenticationFailure),
    /// The module's public key is none on the curve of the KMC key.
    #[error("the module's public key is refused: {0}")]
    PublicKey(String),
    /// Answered before, or older than what is remembered.
    #[error("the VKLOAD.REQ.1 has been used before")]
    Replayed,
    /// Nothing that this module may have.
    #[error("there is no vending key for this module")]
    NoVendingKeys,
    /// As many were issued to this module as may be for now.
    #[error("the module gets no further key load file before {until}")]
    Limit {
        /// When it may have one again.
        until: StsTime,
    },
}

/// How many key load files a module is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssueLimit {
    /// So many at most …
    pub at_most: NonZeroU32,
    /// … within so long.
    pub within: SignedDuration,
}

/// Which check of authenticity failed. For the audit alone: an answer that
/// told would tell which modules there are.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AuthenticationFailure {
    /// No such module is registered.
    #[error("unknown module")]
    UnknownModule,
    /// The module was revoked.
    #[error("revoked module")]
    Revoked,
    /// The hardware id is not the registered one.
    #[error("wrong hardware id")]
    HardwareId,
    /// The message authentication code is wrong.
    #[error("wrong MAC")]
    Mac,
}

/// What the transaction that commits a reply must write with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Effects {
    /// Nothing: nothing was changed, or an external key management system has
    /// written it.
    #[default]
    None,
    /// A key load file was made.
    KlfIssued(KlfIssued),
    /// Modules were added and revoked by a file of the STSA's.
    ModulesUpdated(ModulesUpdated),
}

/// The trace of an update file, and what it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModulesUpdated {
    /// The STSA's key that signed it: serials are counted for each.
    pub stsa_key: PointText,
    /// The same for people.
    pub signer: Fingerprint,
    /// The file's serial.
    pub serial: u32,
    /// What it has in common with a file that says the same.
    pub digest: [u8; 48],
    /// What becomes of which module.
    pub changed: Vec<ModuleChanged>,
    /// The tables that all this was made from.
    pub basis: Revision,
}

/// A module's row before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleChanged {
    /// As it was read; none where it is new.
    pub read: Option<ModuleRow>,
    /// As it becomes.
    pub row: ModuleRow,
}

/// The trace of an issued key load file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KlfIssued {
    /// The module.
    pub smid: SmId,
    /// What may not come again: see [`replay_key`](super::klf::replay_key).
    pub replay_key: [u8; 32],
    /// The time in the request, by which old replay keys are pruned.
    pub request_time: StsTime,
    /// The vending keys in the file.
    pub keys: Vec<(Sgc, Krn)>,
    /// What the transaction must keep too: the files issued at once with this
    /// one count.
    pub limit: Option<IssueLimit>,
    /// The tables that the answer was made from: if they have changed since,
    /// the transaction is refused and the question asked again.
    pub basis: Revision,
}

/// Trouble of ours or of the operator's, never the requester's: the question
/// is asked again later.
#[derive(Debug, Error)]
pub enum KmsError {
    /// There is no key to answer with, or something that cannot be encoded.
    #[error("the key management system cannot answer: {0}")]
    Unavailable(String),
    /// It did not answer another request a moment ago, and was not asked for this
    /// one.
    #[error("the key management system cannot answer: {text}")]
    Away {
        /// The trouble that the other request met.
        text: String,
        /// When to ask again.
        again_in: Duration,
    },
    /// A row was altered, or sealed under another storage key.
    #[error(transparent)]
    Sealed(#[from] DoesNotOpen),
    /// The tables are out of reach.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// `at` as records have it.
pub(super) fn sts_time(at: Timestamp) -> Result<StsTime, KmsError> {
    StsTime::from_timestamp(at).ok_or_else(|| {
        KmsError::Unavailable(format!("the clock says {at}, which no record can hold"))
    })
}
