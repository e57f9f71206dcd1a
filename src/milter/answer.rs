//! The gateway's answers to Postfix, with their SMTP texts. Decides nothing.

use std::ffi::CString;

use crate::measures::NotStored;

/// An answer to Postfix about a recipient or about a whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on. At end-of-message: deliver the message as it is.
    Continue,
    /// Not for the gateway: Postfix sends no more of this message.
    NotOurs,
    /// Accepted, and discarded for every recipient.
    Discard,
    /// Accepted. Postfix removes these recipients, which are written as in RCPT.
    DeleteRecipients(Vec<CString>),
    /// A permanent refusal.
    Reject(SmtpReply),
    /// A temporary refusal.
    Tempfail(SmtpReply),
}

/// An SMTP reply in the gateway's words (RFC 5321, 4.2; RFC 3463).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    /// Three digits.
    pub code: &'static str,
    /// Enhanced status code.
    pub enhanced: &'static str,
    /// Text for people.
    pub text: String,
}

impl SmtpReply {
    /// A permanent refusal. `reason` may quote strangers and DNS. It is therefore
    /// reduced to ASCII and to the length of a reply line (RFC 5321, 4.5.3.1.5).
    pub(super) fn refusal(reason: &str) -> Self {
        const LONGEST: usize = 450;
        let text = format!("Service unavailable; {reason}");
        let ascii = text.chars().map(|c| if c.is_ascii() { c } else { '?' });
        Self {
            code: "554",
            enhanced: "5.7.1",
            text: ascii.take(LONGEST).collect(),
        }
    }

    /// The client sends the refused recipients in another transaction (RFC 5321, 4.5.3.1.10).
    pub(super) fn too_many_recipients() -> Self {
        Self {
            code: "452",
            enhanced: "4.5.3",
            text: "too many recipients at the gateway".to_owned(),
        }
    }

    /// The message waits at the sender's server, with the code that Postfix uses for
    /// a temporary refusal (RFC 3463, 4.3.2).
    pub(super) fn crowded() -> Self {
        Self {
            code: "450",
            enhanced: "4.3.2",
            text: "too many requests of unknown senders wait at the gateway; try again later"
                .to_owned(),
        }
    }

    /// The message is not on disk, and waits at the sender's server.
    pub(super) fn trouble(reason: NotStored) -> Self {
        match reason {
            NotStored::NoRoom => Self {
                code: "452",
                enhanced: "4.3.1",
                text: "the gateway's spool is full; try again later".to_owned(),
            },
            NotStored::NoMemory => Self {
                code: "452",
                enhanced: "4.3.1",
                text: "the gateway has no memory for the message now; try again later".to_owned(),
            },
            NotStored::Trouble => Self {
                code: "451",
                enhanced: "4.3.0",
                text: "the gateway can't store the message now; try again later".to_owned(),
            },
        }
    }
}
