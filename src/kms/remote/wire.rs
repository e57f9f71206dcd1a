//! The JSON on the socket: questions and answers. `docs/kms-protocol.md` describes
//! it for the author of the other side.

use serde::{Deserialize, Serialize};

use crate::kms::issue::AuthenticationFailure;
use crate::kms::update::SignatureFailure;

/// Version of the protocol.
pub(super) const VERSION: u32 = 1;

/// A question with its envelope.
#[derive(Debug, Serialize)]
pub(super) struct Asked<'a> {
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) question: &'a Question,
}

/// A method of [`Kms`](crate::kms::Kms) with its arguments. Records and times are
/// texts, as in records.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "question", rename_all = "kebab-case")]
pub(super) enum Question {
    PublicKey {
        now: String,
    },
    Issue {
        request_id: String,
        record: String,
        accepted_at: String,
        now: String,
    },
    /// Has no effect, so it needs no id by which the effect is found again.
    Foretell {
        record: String,
        accepted_at: String,
        now: String,
    },
    IsFromModule {
        record: String,
        now: String,
    },
    Update {
        request_id: String,
        file: Vec<String>,
        accepted_at: String,
        now: String,
    },
}

impl Question {
    /// The id that the answer must repeat.
    pub(super) fn request_id(&self) -> Option<&str> {
        match self {
            Self::Issue { request_id, .. } | Self::Update { request_id, .. } => Some(request_id),
            Self::PublicKey { .. } | Self::Foretell { .. } | Self::IsFromModule { .. } => None,
        }
    }
}

/// The envelope of an answer. It is read before the answer itself, so that another
/// version is reported as such, whatever else is in the answer.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) version: u32,
    pub(super) request_id: Option<String>,
}

/// An answer. Unknown members are skipped: within a version, additions never change
/// the meaning of an answer.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(super) enum Answer {
    PublicKey { record: String },
    Granted { key_load_file: Vec<String> },
    WouldGrant,
    Refused { refusal: WireRefusal },
    FromModule { from_module: bool },
    Applied { serial: u32, signer: String },
    AlreadyApplied { serial: u32 },
    UpdateRefused { refusal: WireUpdateRefusal },
    Trouble { reason: String },
    ProtocolError { error: String, reason: String },
}

/// A [`Refusal`](crate::kms::Refusal). It contains no text of the other side,
/// because a stranger reads the refusal. The words are made here.
#[derive(Debug, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub(super) enum WireRefusal {
    Expired,
    Future,
    Kmc {
        current: String,
    },
    Authentication {
        failure: AuthenticationFailure,
    },
    PublicKey {
        problem: WirePointProblem,
        curve: String,
    },
    Replayed,
    NoVendingKeys,
    Limit {
        until: String,
    },
}

/// The fault of a module's point.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WirePointProblem {
    Length,
    Form,
    Digits,
    OffCurve,
}

/// An [`UpdateRefusal`](crate::kms::UpdateRefusal). The sender of the file reads
/// the reason of `format`.
#[derive(Debug, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub(super) enum WireUpdateRefusal {
    Format { reason: String },
    Signature { failure: SignatureFailure },
    Serial { expected: u32 },
    Kmc { current: String },
}
