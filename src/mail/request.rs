//! A service request out of a message (STS600-9-2 clause 5). Knows what every
//! service needs of a message, not what any of them does.

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

/// What a service and its reply need of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The service asked for.
    pub code: ServiceCode,
    /// Decoded, and cleaned for the reply.
    pub subject: String,
    /// The gateway address that the request named in To.
    pub from_gateway: Address,
    /// Who gets the reply, at least one.
    pub targets: Vec<Address>,
    /// What the reply's In-Reply-To says: the request's Message-ID as it stands.
    pub message_id: Option<String>,
    /// What the reply's References say.
    pub references: Vec<String>,
    /// The text.
    pub body: Body,
    /// The files.
    pub attachments: Vec<Attachment>,
}

/// The text of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Of its text/plain parts, decoded.
    Plain(String),
    /// There is none, as in HTML-only mail.
    NotPlain,
}

/// A file that came with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Such as `text/plain`: lower case, without parameters.
    pub content_type: String,
    /// Whether Content-Disposition says so, as 8.2 asks.
    pub declared: bool,
    /// Its file name.
    pub name: Option<String>,
    /// Transfer encoding undone.
    pub content: Vec<u8>,
}

/// Why a message is no request. The policy ignores such mail before it comes here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No service code.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The gateway isn't in To (clause 4).
    #[error("no gateway address is in To")]
    NotInTo,
    /// Nobody is left to answer.
    #[error("there is no address to answer")]
    NoTarget,
}

impl Request {
    /// Reads a request that is answered to `targets`, as the policy chose them.
    ///
    /// # Errors
    /// Where the message is no request at all. One that is malformed otherwise
    /// is a request still, and its service answers with an error.
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
}

impl Request {
    /// The same where the answer may go to somebody who never asked: of what
    /// another wrote after the service code in the Subject so many characters at
    /// most, and no References.
    #[must_use]
    pub fn shortened(self, subject_limit: usize) -> Self {
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
