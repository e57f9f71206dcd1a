//! A service, a call of it and its answer.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::{
    kms::{Effects, Kms, KmsError},
    mail::{Address, ErrorCode, Outcome, ReplyText, Request, ServiceCode, wrap_prose},
    request_id::RequestId,
    sts::SmId,
};

/// One row of the table of services.
pub struct Service {
    /// The code at the start of the Subject.
    pub code: ServiceCode,
    /// Its function, in the standard's words (5.1.1).
    pub function: &'static str,
    /// The function in a few words.
    pub(super) brief: &'static str,
    /// The content that a request needs beside its Subject.
    pub request: &'static str,
    /// The content of the answer.
    pub response: &'static str,
    pub(super) answer: for<'a> fn(Call<'a>) -> BoxFuture<'a, Result<Answer, ServiceError>>,
}

/// The facts about this installation for help texts.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    /// The gateway's addresses. Help texts use the first one in examples.
    pub(crate) addresses: Vec<Address>,
    /// The limits that help texts state.
    pub(crate) limits: Limits,
    /// A sentence for each reason why a message may get no answer.
    pub(crate) unanswered: Vec<&'static str>,
    /// The STSA's addresses. Only they get the list of modules that an update
    /// added and revoked.
    pub(crate) stsa_addresses: Vec<Address>,
    /// The help texts that state these facts.
    pub(crate) help: HelpTexts,
}

/// Help texts, each written when it is first asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct HelpTexts {
    /// For requests that may be forged.
    pub(super) short: OnceLock<String>,
    pub(super) full: OnceLock<String>,
}

/// The limits for senders. Times are in words for people.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of a message at most.
    pub(crate) message_bytes: u64,
    /// Bytes of unexpected attachments at most.
    pub(crate) unexpected_attachment_bytes: u64,
    /// Number of reply addresses at most.
    pub(crate) targets: usize,
    /// Age of a VKLOADREQ at most.
    pub(crate) age: String,
    /// Time that a VKLOADREQ may be ahead of the gateway's clock.
    pub(crate) ahead: String,
    /// Number of key load files for one module within `issues_within`.
    pub(crate) issues: u32,
    /// The time for which `issues` counts.
    pub(crate) issues_within: String,
    /// Number of requests of one sender that are answered at once.
    pub(crate) at_once: u32,
    /// The time after which one more request is answered.
    pub(crate) every: String,
    /// A sender with more requests, answered or waiting, is blocked.
    pub(crate) block_above: u32,
    /// The time of the block.
    pub(crate) block_for: String,
    /// The time after which a waiting sender gets a notice.
    pub(crate) notice_after: String,
    /// The time for which the gateway tries again.
    pub(crate) give_up: String,
}

/// One request to a service.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Answers questions about keys.
    pub(crate) kms: &'a dyn Kms,
    /// The facts for help texts.
    pub(crate) installation: &'a Installation,
    /// The spool's id of the request.
    pub(crate) id: &'a RequestId,
    /// The request as it was read from the message.
    pub(crate) request: &'a Request,
    /// Whether the request may be forged. Then the answer must be short, as its
    /// recipient may not have asked.
    pub(crate) may_be_forged: bool,
    /// The time when the gateway accepted the request. Freshness is judged by
    /// this time.
    pub(crate) accepted_at: Timestamp,
    /// The present moment.
    pub(crate) now: Timestamp,
}

/// A service's answer: the reply to send and the effects to commit.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The result for `X-Gateway-Result`.
    pub(crate) outcome: Outcome,
    /// The text body and the attachment.
    pub(crate) text: ReplyText,
    /// The changes that the key management system must keep.
    pub(crate) effects: Effects,
    /// Details for the audit log only.
    pub(crate) detail: Option<String>,
    /// The security module that the request names, authentic or not.
    pub(crate) smid: Option<SmId>,
}

/// A service can't answer now. The request is kept and tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The key management system can't answer.
    #[error("the key management system can't answer now: {0}")]
    Kms(#[from] KmsError),
}

impl ServiceError {
    /// The time until the next try, if an earlier request already failed and
    /// this one was not tried.
    pub(crate) fn again_in(&self) -> Option<Duration> {
        match self {
            Self::Kms(KmsError::Away { again_in, .. }) => Some(*again_in),
            Self::Kms(_) => None,
        }
    }
}

impl Answer {
    /// An answer that changes nothing.
    fn new(outcome: Outcome, body: String) -> Self {
        Self {
            outcome,
            text: ReplyText {
                body,
                attachment: None,
            },
            effects: Effects::None,
            detail: None,
            smid: None,
        }
    }

    pub(super) fn success(body: String) -> Self {
        Self::new(Outcome::success(), body)
    }

    /// An error with the code's own remedy. `found` replaces the code's meaning
    /// if it says more.
    pub(super) fn error(code: ErrorCode, found: Option<String>, parameters: Vec<String>) -> Self {
        let description = match found {
            Some(found) => format!("{found}; {}", code.row().remedy),
            None => code.description(),
        };
        Self::error_described(code, description, parameters)
    }

    /// An error whose remedy isn't the code's own.
    pub(super) fn error_described(
        code: ErrorCode,
        description: String,
        parameters: Vec<String>,
    ) -> Self {
        let body = error_body(code, &description, &parameters);
        let outcome = Outcome::Error {
            code,
            description,
            parameters,
        };
        Self::new(outcome, body)
    }
}

/// The text body of an error, for a person.
fn error_body(code: ErrorCode, description: &str, parameters: &[String]) -> String {
    let mut body = format!(
        "Your request failed: {}.\n\nError code: {code}\n",
        description.trim_end_matches('.')
    );
    for parameter in parameters {
        body.push_str(&format!("Detail: {parameter}\n"));
    }
    body.push_str("\nFor instructions send a message with the Subject {KMS:Help}.\n");
    wrap_prose(&body)
}
