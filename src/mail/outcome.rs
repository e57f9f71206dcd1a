//! The result of a request, as its reply states it (STS600-9-2 8.3.2).

use super::result_code::{ErrorCode, NoticeCode};

/// The summary of a success, from the standard's example.
const COMPLETED: &str = "The operation completed successfully";

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Final: the request succeeded.
    Success {
        /// Text for a person.
        summary: String,
    },
    /// Final: the request failed.
    Error {
        /// Code for a program.
        code: ErrorCode,
        /// Text for a person: what happened and how to proceed.
        description: String,
        /// Values whose meaning depends on the code.
        parameters: Vec<String>,
    },
    /// Not final: more mail follows.
    Notice {
        /// Code for a program.
        code: NoticeCode,
        /// Text for a person: what happened and how to proceed.
        message: String,
        /// Values whose meaning depends on the code.
        parameters: Vec<String>,
    },
}

impl Outcome {
    /// A success with the standard's summary.
    #[must_use]
    pub fn success() -> Self {
        Outcome::Success {
            summary: COMPLETED.to_owned(),
        }
    }

    /// An error with the description from the table of codes.
    #[must_use]
    pub fn error(code: ErrorCode) -> Self {
        Outcome::Error {
            code,
            description: code.description(),
            parameters: Vec::new(),
        }
    }

    /// A notice with the message from the table of codes.
    #[must_use]
    pub(crate) fn notice(code: NoticeCode) -> Self {
        Outcome::Notice {
            code,
            message: code.description(),
            parameters: Vec::new(),
        }
    }

    /// Adds a parameter. A success has none and stays as it is.
    pub fn with_parameter(mut self, parameter: impl Into<String>) -> Self {
        match &mut self {
            Outcome::Error { parameters, .. } | Outcome::Notice { parameters, .. } => {
                parameters.push(parameter.into());
            }
            Outcome::Success { .. } => (),
        }
        self
    }

    /// The words that [`Outcome::kind`] returns.
    pub(crate) const KINDS: [&str; 3] = ["Success", "Error", "Notice"];

    /// `Success`, `Error` or `Notice`: the first element of the result.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Outcome::Success { .. } => "Success",
            Outcome::Error { .. } => "Error",
            Outcome::Notice { .. } => "Notice",
        }
    }

    /// The code. `None` for a success.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            Outcome::Success { .. } => None,
            Outcome::Error { code, .. } => Some(code.as_str()),
            Outcome::Notice { code, .. } => Some(code.as_str()),
        }
    }

    /// The summary, description or message.
    pub(crate) fn text(&self) -> &str {
        match self {
            Outcome::Success { summary } => summary,
            Outcome::Error { description, .. } => description,
            Outcome::Notice { message, .. } => message,
        }
    }

    /// The parameters. Empty for a success.
    pub(crate) fn parameters(&self) -> &[String] {
        match self {
            Outcome::Success { .. } => &[],
            Outcome::Error { parameters, .. } | Outcome::Notice { parameters, .. } => parameters,
        }
    }
}
