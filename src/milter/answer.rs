//! What Postfix is told, and in which words. Decides nothing.

use std::ffi::CString;

use crate::measures::NotStored;

/// What Postfix is told of a recipient or of a whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on; at end-of-message: deliver as it is.
    Continue,
    /// Not the gateway's: no more of this message, please.
    NotOurs,
    /// Taken, and gone for every recipient.
    Discard,
    /// Taken; these recipients, as they were given in RCPT, are to be removed.
    DeleteRecipients(Vec<CString>),
    /// Refused for good.
    Reject(SmtpReply),
    /// Refused for now.
    Tempfail(SmtpReply),
}

/// An SMTP reply of our own (RFC 5321, 4.2; RFC 3463).
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
    /// A refusal for good. The reason may quote strangers, DNS among them: it
    /// becomes ASCII, and short enough for a reply line (RFC 5321 4.5.3.1.5).
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

    /// RFC 5321, 4.5.3.1.10: what is refused so is sent again apart.
    pub(super) fn too_many_recipients() -> Self {
        Self {
            code: "452",
            enhanced: "4.5.3",
            text: "too many recipients at the gateway".to_owned(),
        }
    }

    /// The message waits at the sender's, as Postfix has it wait that refuses
    /// for a time (RFC 3463, 4.3.2).
    pub(super) fn crowded() -> Self {
        Self {
            code: "450",
            enhanced: "4.3.2",
            text: "too many requests of unknown senders wait at the gateway; try again later"
                .to_owned(),
        }
    }

    /// The message waits at the sender's.
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
