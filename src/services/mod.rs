//! The services of STS600-9-2, clause 5: a request in, an outcome and its
//! effects out. They write nothing; whoever asked commits the effects
//! together with the reply. Know no SMTP, no milter and no store.

mod help;
mod key_load_file;
mod module_update;
mod public_key;

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::{
    kms::{Effects, Kms, KmsError},
    mail::{Address, Body, ErrorCode, Outcome, ReplyText, Request, ServiceCode, wrap_prose},
    request_id::RequestId,
    sts::SmId,
};

/// One row of the table of services.
pub struct Service {
    /// What the Subject begins with.
    pub code: ServiceCode,
    /// Its function, in the standard's words (5.1.1).
    pub function: &'static str,
    /// The same in a few words.
    brief: &'static str,
    /// What a request needs beside its Subject.
    pub request: &'static str,
    /// What comes back.
    pub response: &'static str,
    answer: for<'a> fn(Call<'a>) -> BoxFuture<'a, Result<Answer, ServiceError>>,
}

/// Every service there is. Help texts, documentation and dispatch read this.
pub static SERVICES: [Service; 4] = [
    Service {
        code: ServiceCode::Help,
        function: "Requests instructions for using the mail-based services",
        brief: "these instructions",
        request: "Nothing but the Subject; the body is not read.",
        response: "These instructions.",
        answer: |call| Box::pin(async move { Ok(help::answer(&call)) }),
    },
    Service {
        code: ServiceCode::GetPublicKey,
        function: "Retrieve the Public Key of the KMS, which is required by Security Modules to \
                   generate a Vending Key Load Request",
        brief: "the public key of the KMS",
        request: "Nothing but the Subject; the body is not read.",
        response: "The current public key of the KMS and its fingerprint, in Record-in-email format.",
        answer: |call| Box::pin(public_key::answer(call)),
    },
    Service {
        code: ServiceCode::GetKlfStsEd2,
        function: "Obtain a Key Load File for a STS Edition2 security module",
        brief: "a Key Load File; the body has the module's VKLOADREQ",
        request: "In the body, one fresh Vending Key Load Request (VKLOADREQ) of the security \
                  module, in Record-in-email format.",
        response: "The Key Load File as a text/plain attachment, or what failed.",
        answer: |call| Box::pin(key_load_file::answer(call)),
    },
    Service {
        code: ServiceCode::SmUpdateStsEd2,
        function: "Send an update file to the KMC",
        brief: "reserved for the STSA",
        request: "Reserved for the STSA only: the signed update file as a text/plain attachment.",
        response: "Whether the update was applied.",
        answer: |call| Box::pin(module_update::answer(call)),
    },
];

/// What help texts say of this installation.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The gateway's addresses, the one to name first.
    pub addresses: Vec<Address>,
    /// What it takes and sends.
    pub limits: Limits,
    /// Why a message may get no answer, a sentence for each cause.
    pub unanswered: Vec<&'static str>,
    /// Who is told which modules an update added and revoked.
    pub stsa_addresses: Vec<Address>,
}

/// The limits that a sender can meet. Times are in a person's words.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest message that is read, in bytes.
    pub message_bytes: u64,
    /// Attachments that the service doesn't ask for, in bytes.
    pub unexpected_attachment_bytes: u64,
    /// Addresses of one request that are answered.
    pub targets: usize,
    /// How old a VKLOADREQ may be.
    pub age: String,
    /// How far ahead of the gateway's clock.
    pub ahead: String,
    /// How many key load files a module is issued …
    pub issues: u32,
    /// … within this time.
    pub issues_within: String,
    /// How many requests of one sender are done at once.
    pub at_once: u32,
    /// The time after which one more is.
    pub every: String,
    /// With how many, done or waiting, a sender is blocked.
    pub block_above: u32,
    /// For how long.
    pub block_for: String,
    /// After which time whoever waits is told so.
    pub notice_after: String,
    /// How long a request is tried again.
    pub give_up: String,
}

/// One request put to a service.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The key management system.
    pub kms: &'a dyn Kms,
    /// For help texts.
    pub installation: &'a Installation,
    /// The spool's id of the request.
    pub id: &'a RequestId,
    /// The request.
    pub request: &'a Request,
    /// Whether it may be forged, so that whoever is answered may not have asked:
    /// the answer must not be long.
    pub may_be_forged: bool,
    /// When the gateway took the request; freshness is judged by this.
    pub accepted_at: Timestamp,
    /// The present moment.
    pub now: Timestamp,
}

/// A service's answer: what to tell the requester and what to commit.
#[derive(Debug)]
pub struct Answer {
    /// For `X-Gateway-Result`.
    pub outcome: Outcome,
    /// The text body and the attachment.
    pub text: ReplyText,
    /// What the key management system must remember of it.
    pub effects: Effects,
    /// What only the audit may know.
    pub detail: Option<String>,
    /// The security module that the request names, authentic or not.
    pub smid: Option<SmId>,
}

/// A service could not be rendered now; the request is kept and tried again.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The key management system is in trouble.
    #[error("the key management system can't answer now: {0}")]
    Kms(#[from] KmsError),
}

impl ServiceError {
    /// When to try again, where an earlier request met the trouble and this one was
    /// not tried.
    #[must_use]
    pub fn again_in(&self) -> Option<Duration> {
        match self {
            Self::Kms(KmsError::Away { again_in, .. }) => Some(*again_in),
            Self::Kms(_) => None,
        }
    }
}

/// Answers a request.
///
/// # Errors
/// [`ServiceError`] when a later attempt may succeed; whatever is wrong with
/// the request itself is an [`Outcome::Error`].
pub async fn answer(call: Call<'_>) -> Result<Answer, ServiceError> {
    match preliminary(&call) {
        Err(refusal) => Ok(*refusal),
        Ok(service) => (service.answer)(call).await,
    }
}

/// Says what the answer would be, and issues nothing.
///
/// # Errors
/// As [`answer`].
pub async fn foretell(call: Call<'_>) -> Result<Outcome, ServiceError> {
    match preliminary(&call) {
        Err(refusal) => Ok(refusal.outcome),
        Ok(service) if service.code == ServiceCode::GetKlfStsEd2 => {
            key_load_file::foretell(call).await
        }
        Ok(service) => Ok((service.answer)(call).await?.outcome),
    }
}

/// The answer to a request that could not be served in its time.
#[must_use]
pub fn failed(reason: &str) -> Answer {
    Answer {
        detail: Some(reason.to_owned()),
        ..Answer::error(ErrorCode::ServiceFailed, None, Vec::new())
    }
}

/// What holds for every service: there is one, and the request is plain text
/// (clause 4).
fn preliminary(call: &Call<'_>) -> Result<&'static Service, Box<Answer>> {
    let service = SERVICES
        .iter()
        .find(|service| service.code == call.request.code)
        .ok_or_else(|| Box::new(unknown_service(&call.request.code)))?;
    match call.request.body {
        Body::Plain(_) => Ok(service),
        Body::NotPlain => {
            let refusal = Answer::error(ErrorCode::PlainTextRequired, None, Vec::new());
            Err(Box::new(refusal))
        }
    }
}

/// The most characters of an unknown code that an answer repeats: it may go to
/// somebody who never wrote them.
const MOST_QUOTED: usize = 40;

fn unknown_service(code: &ServiceCode) -> Answer {
    let known: Vec<String> = SERVICES
        .iter()
        .map(|service| service.code.to_string())
        .collect();
    let named: String = code.to_string().chars().take(MOST_QUOTED).collect();
    let found = format!(
        "There is no service {named}; the services are {}",
        known.join(", ")
    );
    Answer::error(ErrorCode::UnknownService, Some(found), known)
}

impl Answer {
    /// A success with this body.
    fn success(body: String) -> Self {
        Self {
            outcome: Outcome::success(),
            text: ReplyText {
                body,
                attachment: None,
            },
            effects: Effects::None,
            detail: None,
            smid: None,
        }
    }

    /// An error by its code: what was found, where more than the code's own
    /// meaning can be said, and what to do about it.
    fn error(code: ErrorCode, found: Option<String>, parameters: Vec<String>) -> Self {
        let description = match found {
            Some(found) => format!("{found}; {}", code.row().remedy),
            None => code.description(),
        };
        Self::error_described(code, description, parameters)
    }

    /// An error whose remedy isn't the code's own.
    fn error_described(code: ErrorCode, description: String, parameters: Vec<String>) -> Self {
        let body = error_body(code, &description, &parameters);
        Self {
            outcome: Outcome::Error {
                code,
                description,
                parameters,
            },
            text: ReplyText {
                body,
                attachment: None,
            },
            effects: Effects::None,
            detail: None,
            smid: None,
        }
    }
}

/// The text body of an error: the same in words, for a person.
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
