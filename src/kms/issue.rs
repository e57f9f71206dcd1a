//! A question for a key load file, its answer, and the effects of the answer.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
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
    pub(crate) record: PkEcdh,
    /// Fingerprint of the key (records.md, section 5).
    pub(crate) fingerprint: Fingerprint,
}

/// A question for a key load file.
#[derive(Clone, Debug)]
pub struct IssueQuestion {
    /// The accepted request that carried the record.
    pub(crate) request_id: RequestId,
    /// The record. Its form and checksum are verified already.
    pub(crate) request: VkloadReq,
    /// When the gateway accepted the request. Freshness is judged at that time, so
    /// a request does not expire while the gateway defers it.
    pub(crate) accepted_at: Timestamp,
    /// When the request is answered. Keys are chosen for that time.
    pub(crate) now: Timestamp,
}

/// The answer to an [`IssueQuestion`].
#[derive(Clone, Debug)]
pub enum Issue {
    /// A key load file was made.
    Granted(Box<Grant>),
    /// No file is issued, for a reason that the requester can mend.
    Refused(Refusal),
}

/// A key load file. It counts as issued once its effects are committed.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The file, record by record.
    pub(crate) key_load_file: Vec<Record>,
    /// Changes to commit together with the reply.
    pub(crate) effects: Effects,
    /// SGC and KRN of the vending keys in the file, in its order.
    pub(crate) keys: Vec<(Sgc, Krn)>,
}

/// Why no key load file is issued, in the order of the checks (records.md,
/// section 6).
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
    /// Made for a KMC key that does not serve.
    #[error("the VKLOAD.REQ.1 was made for another KMC key than {current}")]
    Kmc {
        /// The key that the module should use.
        current: KmcId,
    },
    /// Not made by a module that may ask. Every cause gets the same answer.
    #[error("the VKLOAD.REQ.1 is not authentic: {0}")]
    Authentication(AuthenticationFailure),
    /// The module's public key is not a point on the KMC key's curve.
    #[error("the module's public key is refused: {0}")]
    PublicKey(String),
    /// Answered before, or older than the replay keys that are kept.
    #[error("the VKLOAD.REQ.1 has been used before")]
    Replayed,
    /// The module has no supply group with a vending key that is issued now.
    #[error("there is no vending key for this module")]
    NoVendingKeys,
    /// The module has reached its [`IssueLimit`].
    #[error("the module gets no further key load file before {until}")]
    Limit {
        /// When the module may have a file again.
        until: StsTime,
    },
}

/// The limit of key load files for one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IssueLimit {
    /// Greatest number of files …
    pub(crate) at_most: NonZeroU32,
    /// … within this time.
    pub(crate) within: SignedDuration,
}

/// The check of authenticity that failed. For the audit log alone: an answer that
/// named it would reveal which modules exist. An external system sends these names
/// (`docs/kms-protocol.md`).
#[derive(Clone, Copy, Debug, Deserialize, Error, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
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

/// The changes that the transaction of a reply must write too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Effects {
    /// Nothing: nothing changes, or an external key management system has written
    /// the change itself.
    #[default]
    None,
    /// A key load file was made.
    KlfIssued(KlfIssued),
    /// Modules were added and revoked by a file of the STSA's.
    ModulesUpdated(ModulesUpdated),
}

/// The record of an update file, and the changes that it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModulesUpdated {
    /// The STSA key that signed the file. Serials are counted for each key.
    pub(crate) stsa_key: PointText,
    /// Fingerprint of that key.
    pub(crate) signer: Fingerprint,
    /// Serial of the file.
    pub(crate) serial: u32,
    /// Content digest: equal for two files that say the same.
    pub(crate) digest: [u8; 48],
    /// The modules that change.
    pub(crate) changed: Vec<ModuleChanged>,
    /// Revision of the tables that the answer was made from.
    pub(crate) basis: Revision,
}

/// A module's row before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModuleChanged {
    /// The row as it was read; none for a new module.
    pub(crate) read: Option<ModuleRow>,
    /// The row to write.
    pub(crate) row: ModuleRow,
}

/// The record of an issued key load file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KlfIssued {
    /// The module.
    pub(crate) smid: SmId,
    /// Refuses the same request next time: see
    /// [`replay_key`](super::klf::replay_key).
    pub(crate) replay_key: [u8; 32],
    /// The time in the request. Old replay keys are pruned by it.
    pub(crate) request_time: StsTime,
    /// SGC and KRN of the vending keys in the file.
    pub(crate) keys: Vec<(Sgc, Krn)>,
    /// The limit that the transaction must check again, because other files may
    /// have been issued at the same time.
    pub(crate) limit: Option<IssueLimit>,
    /// Revision of the tables that the answer was made from. If it has changed,
    /// the transaction is refused and the question is asked again.
    pub(crate) basis: Revision,
}

/// Trouble of the gateway or its operator, never of the requester. The question is
/// asked again later.
#[derive(Debug, Error)]
pub enum KmsError {
    /// No KMC key is active, a value cannot be encoded, or an external system
    /// gave no usable answer.
    #[error("the key management system cannot answer: {0}")]
    Unavailable(String),
    /// The external system did not answer another request a moment ago, and was
    /// not asked for this one.
    #[error("the key management system cannot answer: {text}")]
    Away {
        /// The trouble of the other request.
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

/// `at` as records write it.
pub(super) fn sts_time(at: Timestamp) -> Result<StsTime, KmsError> {
    StsTime::from_timestamp(at).ok_or_else(|| {
        KmsError::Unavailable(format!(
            "the clock says {at}, which no record can hold: set the clock"
        ))
    })
}
