//! What can go wrong between the gateway and an external key management
//! system. All of it is ours to mend, none the requester's.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::error::Category;
use thiserror::Error;

use crate::kms::issue::KmsError;
use crate::printable::Printable;

/// The longest text of the other side's that is repeated in an error.
const LONGEST_EXCERPT: usize = 200;

/// Why there is no answer that could be used.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// Nobody listens, or this user may not talk to who does.
    #[error(
        "it can't be connected to: {0}; see that it runs, and that the gateway may use the socket"
    )]
    Connect(io::Error),
    /// It did not answer another question a moment ago.
    #[error("it was not asked, as it is away: {trouble}")]
    Away {
        /// Why that question had no answer.
        trouble: String,
        /// When to ask again.
        again_in: Duration,
    },
    /// It took longer than it may.
    #[error("{what} took longer than {limit:?}; see what holds it up, or raise kms.{setting}")]
    Slow {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// The setting that says so.
        setting: &'static str,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// It ended before the end of the answer.
    #[error("it closed the connection before the end of its answer")]
    CutShort,
    /// More than an answer can be.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// No answer of the protocol.
    #[error("its answer is none of the protocol: {0}")]
    Malformed(String),
    /// An answer of another version.
    #[error("it answers by version {0} of the protocol; this gateway speaks version {ours}", ours = super::wire::VERSION)]
    Version(u32),
    /// An answer that can't be one to this question.
    #[error("its answer does not fit the question: {0}")]
    Unfit(String),
    /// It says that it can't answer now.
    #[error("it is in trouble: {0}")]
    Its(String),
    /// It takes what was asked for no question of the protocol.
    #[error("it refuses the question ({error}): {reason}")]
    Refused {
        /// Its name for the error.
        error: String,
        /// Its words.
        reason: String,
    },
}

impl Trouble {
    /// As the trait has it, with the socket that it came by.
    pub(super) fn at(self, socket: &Path) -> KmsError {
        let text = format!("the KMS at {}: {self}", socket.display());
        match self {
            Self::Away { again_in, .. } => KmsError::Away { text, again_in },
            _ => KmsError::Unavailable(text),
        }
    }

    /// Whether nobody answered at all.
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

    /// An answer that can't be one to this question.
    pub(super) fn unfit(problem: impl ToString) -> Self {
        Self::Unfit(excerpt(&problem.to_string()))
    }

    /// No answer of the protocol. What stands there instead is repeated
    /// nowhere: nobody knows what it is.
    pub(super) fn malformed(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let column = error.column();
        Self::Malformed(match error.classify() {
            Category::Data if text.starts_with("missing field") => excerpt(&text),
            Category::Data => format!("it is JSON with an unknown value before column {column}"),
            _ => format!("it is no JSON at column {column}"),
        })
    }
}

/// The beginning of a text of the other side's, fit to be logged.
pub(super) fn excerpt(text: &str) -> String {
    let beginning: String = text.chars().take(LONGEST_EXCERPT).collect();
    Printable(&beginning).to_string()
}
