//! Reads a service request from a message (STS600-9-2 clause 5). Knows what
//! services need from a message, and nothing of what they do.

use thiserror::Error;

use super::address::Address;
use super::gateway_addresses::GatewayAddresses;
use super::header::Header;
use super::message::Message;
use super::mime::{Part, Structure};
use super::named_gateway::named_in_to;
use super::service_code::{ServiceCode, SubjectError, parse_subject};
use super::subject;
use super::threading;

/// A request: all that a service and its reply need from a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The service code in the Subject.
    pub code: ServiceCode,
    /// The Subject, decoded and cleaned for the reply.
    pub subject: String,
    /// The gateway address in To. The reply comes from it.
    pub from_gateway: Address,
    /// The addresses that get the reply, at least one.
    pub targets: Vec<Address>,
    /// The request's Message-ID, for the reply's In-Reply-To.
    pub message_id: Option<String>,
    /// The ids for the reply's References.
    pub references: Vec<String>,
    /// The plain text.
    pub body: Body,
    /// The files in their order.
    pub attachments: Vec<Attachment>,
}

/// The text of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The decoded text of the text/plain parts.
    Plain(String),
    /// No plain text, as in HTML-only mail.
    NotPlain,
}

/// A file that came with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Media type such as `text/plain`, in lower case, without parameters.
    pub(crate) content_type: String,
    /// Whether Content-Disposition declares an attachment, as 8.2 requires.
    pub(crate) declared: bool,
    /// The file name that the part states.
    pub(crate) name: Option<String>,
    /// The content without its transfer encoding.
    pub content: Vec<u8>,
}

/// Why a message is no request. The policy ignores such mail before it gets here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The Subject begins with no service code.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The gateway isn't in To (clause 4).
    #[error("no gateway address is in To")]
    NotInTo,
    /// No address is left to answer.
    #[error("there is no address to answer")]
    NoTarget,
}

impl Request {
    /// Reads a request. `targets` are the reply addresses that the policy chose.
    ///
    /// # Errors
    /// Fails if the message is no request at all. A request with any
    /// other flaw is still a request, and its service answers with an error.
    pub fn from_message(
        message: &Message,
        gateway: &GatewayAddresses,
        targets: Vec<Address>,
    ) -> Result<Self, RequestError> {
        let headers = &message.headers;
        let subject = headers.first("Subject").ok_or(SubjectError::Absent)?;
        let subject = subject.decoded();
        let code = parse_subject(&subject)?;
        let from_gateway = named_in_to(headers, gateway).ok_or(RequestError::NotInTo)?;
        if targets.is_empty() {
            return Err(RequestError::NoTarget);
        }
        Ok(Self::judged(message, code, from_gateway.clone(), targets))
    }

    /// Reads a request for this service, at this gateway address, as the policy judged it.
    #[must_use]
    pub fn judged(
        message: &Message,
        code: ServiceCode,
        from_gateway: Address,
        targets: Vec<Address>,
    ) -> Self {
        let headers = &message.headers;
        let subject = headers.first("Subject").map(Header::decoded);
        let structure = message.structure();
        Request {
            code,
            subject: subject::clean(&subject.unwrap_or_default()),
            from_gateway,
            targets,
            message_id: threading::message_id(headers),
            references: threading::references(headers),
            body: Body::of(&structure),
            attachments: structure.attachments().map(Attachment::of).collect(),
        }
    }

    /// The request for a reply that may go to somebody who never asked. Keeps
    /// at most `subject_limit` characters after the service code in the
    /// Subject, and no References, as another person may have written them.
    pub(crate) fn shortened(self, subject_limit: usize) -> Self {
        Request {
            subject: subject::shortened(&self.subject, subject_limit),
            references: Vec::new(),
            ..self
        }
    }
}

impl Body {
    fn of(structure: &Structure<'_>) -> Self {
        structure.plain_text().map_or(Body::NotPlain, Body::Plain)
    }
}

impl Attachment {
    fn of(part: &Part<'_>) -> Self {
        Attachment {
            content_type: part.content_type.essence(),
            declared: part.is_declared_attachment(),
            name: part.name.clone(),
            content: part.content().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
