//! What goes over the socket: questions and answers as JSON. `docs/kms-protocol.md`
//! describes it for whoever writes the other side.

use serde::{Deserialize, Serialize};

/// The version of the protocol that is spoken here.
pub(super) const VERSION: u32 = 1;

/// A question with what every question has.
#[derive(Debug, Serialize)]
pub(super) struct Asked<'a> {
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) question: &'a Question,
}

/// A method of [`Kms`](crate::kms::Kms) with its arguments. Records and times
/// are texts as records have them.
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
    /// Has no effect, and so no id by which one would be found again.
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
    /// The id that its answer must repeat.
    pub(super) fn request_id(&self) -> Option<&str> {
        match self {
            Self::Issue { request_id, .. } | Self::Update { request_id, .. } => Some(request_id),
            Self::PublicKey { .. } | Self::Foretell { .. } | Self::IsFromModule { .. } => None,
        }
    }
}

/// What every answer has. Read before the answer itself, so that another
/// version is found as such, whatever else it says.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) version: u32,
    pub(super) request_id: Option<String>,
}

/// An answer. What is not known in it is skipped: what an answer of this
/// version means is changed by no addition.
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

/// A [`Refusal`](crate::kms::Refusal). No text of the other side's is in it,
/// as it goes to a stranger: the words are made here.
#[derive(Debug, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub(super) enum WireRefusal {
    Expired,
    Future,
    Kmc {
        current: String,
    },
    Authentication {
        failure: WireAuthenticationFailure,
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

/// Which check of authenticity failed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WireAuthenticationFailure {
    UnknownModule,
    Revoked,
    HardwareId,
    Mac,
}

/// What is wrong with a module's point.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WirePointProblem {
    Length,
    Form,
    Digits,
    OffCurve,
}

/// An [`UpdateRefusal`](crate::kms::UpdateRefusal). The reason of `format` is
/// told to whoever sent the file.
#[derive(Debug, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub(super) enum WireUpdateRefusal {
    Format { reason: String },
    Signature { failure: WireSignatureFailure },
    Serial { expected: u32 },
    Kmc { current: String },
}

/// Whose word a file is not.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WireSignatureFailure {
    NoKeys,
    NobodyKnown,
    NotValidNow,
}
