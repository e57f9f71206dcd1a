//! The faults between the gateway and an external key management system. The
//! operator can mend them; the requester can't.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::error::Category;
use thiserror::Error;

use crate::kms::issue::KmsError;
use crate::printable::Printable;

/// Length in characters of the longest text of the other side that an error repeats.
const LONGEST_EXCERPT: usize = 200;

/// Why there is no usable answer.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// Nobody listens, or this user may not use the socket.
    #[error(
        "it can't be connected to: {0}; check that it runs and that the gateway may use the socket"
    )]
    Connect(io::Error),
    /// The system did not answer another question a moment ago.
    #[error("it was not asked, because it did not answer a moment ago: {trouble}")]
    Away {
        /// Why that question had no answer.
        trouble: String,
        /// When to ask again.
        again_in: Duration,
    },
    /// A step took longer than its limit.
    #[error("{what} took longer than {limit:?}; find out what delays it, or raise kms.{setting}")]
    Slow {
        /// The step, in words.
        what: &'static str,
        /// The limit of the step.
        limit: Duration,
        /// Name of the setting with the limit.
        setting: &'static str,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The connection ended before the answer did.
    #[error("it closed the connection before the end of its answer")]
    CutShort,
    /// The answer exceeds the limit.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer does not follow the protocol.
    #[error("its answer does not follow the protocol: {0}")]
    Malformed(String),
    /// The answer has another version of the protocol.
    #[error("it answers by version {0} of the protocol; this gateway speaks version {ours}", ours = super::wire::VERSION)]
    Version(u32),
    /// The answer can't be an answer to this question.
    #[error("its answer does not fit the question: {0}")]
    Unfit(String),
    /// The system says that it can't answer now.
    #[error("it is in trouble: {0}")]
    Its(String),
    /// The system says that the question does not follow the protocol.
    #[error("it refuses the question ({error}): {reason}")]
    Refused {
        /// The system's name for the error.
        error: String,
        /// The system's words.
        reason: String,
    },
}

impl Trouble {
    /// The error for callers. It names the socket.
    pub(super) fn at(self, socket: &Path) -> KmsError {
        let text = format!("the KMS at {}: {self}", socket.display());
        match self {
            Self::Away { again_in, .. } => KmsError::Away { text, again_in },
            _ => KmsError::Unavailable(text),
        }
    }

    /// Whether there was no answer at all.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Slow { .. } | Self::Broken(_) | Self::CutShort => true,
            Self::Away { .. }
            | Self::TooLong(_)
            | Self::Malformed(_)
            | Self::Version(_)
            | Self::Unfit(_)
            | Self::Its(_)
            | Self::Refused { .. } => false,
        }
    }

    /// The trouble of an answer that can't be an answer to this question.
    pub(super) fn unfit(problem: impl ToString) -> Self {
        Self::Unfit(excerpt(&problem.to_string()))
    }

    /// The trouble of an answer that does not follow the protocol. The answer is
    /// repeated nowhere, because it may contain anything.
    pub(super) fn malformed(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let column = error.column();
        Self::Malformed(match error.classify() {
            Category::Data if text.starts_with("missing field") => excerpt(&text),
            Category::Data => format!("it is JSON with an unknown value before column {column}"),
            _ => format!("it is not JSON at column {column}"),
        })
    }
}

/// The beginning of a text of the other side, escaped so that it can be logged.
pub(super) fn excerpt(text: &str) -> String {
    let beginning: String = text.chars().take(LONGEST_EXCERPT).collect();
    Printable(&beginning).to_string()
}
