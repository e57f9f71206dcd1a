//! The services of STS600-9-2, clause 5: a request in, an outcome and its
//! effects out. Services write nothing. The caller commits the effects together
//! with the reply. Services know no SMTP, no milter and no store.

mod call;
mod help;
mod key_load_file;
mod module_update;
mod public_key;

pub(crate) use call::{Answer, Call, HelpTexts, Installation, Limits, Service, ServiceError};

use crate::mail::{Body, ErrorCode, Outcome, ServiceCode};

/// All services. Dispatch, help texts and documentation read this table.
pub static SERVICES: [Service; 4] = [
    Service {
        code: ServiceCode::Help,
        function: "Requests instructions for using the mail-based services",
        brief: "these instructions",
        request: "Nothing but the Subject; the body is not read.",
        response: "These instructions.",
        answer: |call| Box::pin(async move { Ok(help::answer(&call, &SERVICES)) }),
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
        response: "The Key Load File as a text/plain attachment, or the reason for the failure.",
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

/// Answers a request.
///
/// # Errors
/// [`ServiceError`] if a later attempt may succeed. A flaw of the
/// request itself is an [`Outcome::Error`].
pub(crate) async fn answer(call: Call<'_>) -> Result<Answer, ServiceError> {
    match preliminary(&call) {
        Err(refusal) => Ok(*refusal),
        Ok(service) => (service.answer)(call).await,
    }
}

/// Returns the outcome that [`answer`] would have, and issues nothing.
///
/// # Errors
/// As [`answer`].
pub(crate) async fn foretell(call: Call<'_>) -> Result<Outcome, ServiceError> {
    match preliminary(&call) {
        Err(refusal) => Ok(refusal.outcome),
        Ok(service) if service.code == ServiceCode::GetKlfStsEd2 => {
            key_load_file::foretell(call).await
        }
        Ok(service) => Ok((service.answer)(call).await?.outcome),
    }
}

/// The answer to a request that could not be answered in time.
#[must_use]
pub(crate) fn failed(reason: &str) -> Answer {
    Answer {
        detail: Some(reason.to_owned()),
        ..Answer::error(ErrorCode::ServiceFailed, None, Vec::new())
    }
}

/// The checks for all services: the service exists, and the request is plain
/// text (clause 4).
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

/// Characters of an unknown code that an answer repeats at most. It may go to
/// somebody who never wrote the code.
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
