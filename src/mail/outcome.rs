//! What became of a request, as its reply tells it (STS600-9-2 8.3.2).

use super::result_code::{ErrorCode, NoticeCode};

/// The summary of a success where nothing better can be said: the standard's example.
const COMPLETED: &str = "The operation completed successfully";

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Final: done.
    Success {
        /// In a person's words.
        summary: String,
    },
    /// Final: not done.
    Error {
        /// For a program.
        code: ErrorCode,
        /// For a person, with guidance.
        description: String,
        /// Specific to the code.
        parameters: Vec<String>,
    },
    /// Not final.
    Notice {
        /// For a program.
        code: NoticeCode,
        /// For a person, with guidance.
        message: String,
        /// Specific to the code.
        parameters: Vec<String>,
    },
}

impl Outcome {
    /// A success in the standard's words.
    #[must_use]
    pub fn success() -> Self {
        Outcome::Success {
            summary: COMPLETED.to_owned(),
        }
    }

    /// An error in the words of the table.
    #[must_use]
    pub fn error(code: ErrorCode) -> Self {
        Outcome::Error {
            code,
            description: code.description(),
            parameters: Vec::new(),
        }
    }

    /// A notice in the words of the table.
    #[must_use]
    pub fn notice(code: NoticeCode) -> Self {
        Outcome::Notice {
            code,
            message: code.description(),
            parameters: Vec::new(),
        }
    }

    /// The same with one more parameter; a success has none and stays as it is.
    #[must_use]
    pub fn with_parameter(mut self, parameter: impl Into<String>) -> Self {
        match &mut self {
            Outcome::Error { parameters, .. } | Outcome::Notice { parameters, .. } => {
                parameters.push(parameter.into());
            }
            Outcome::Success { .. } => (),
        }
        self
    }

    /// Whether no further mail about the request follows.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Outcome::Notice { .. })
    }

    /// The words that [`Outcome::kind`] gives.
    pub const KINDS: [&str; 3] = ["Success", "Error", "Notice"];

    /// `Success`, `Error` or `Notice`: the first element of the result.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Outcome::Success { .. } => "Success",
            Outcome::Error { .. } => "Error",
            Outcome::Notice { .. } => "Notice",
        }
    }

    /// The code, which a success has not.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Outcome::Success { .. } => None,
            Outcome::Error { code, .. } => Some(code.as_str()),
            Outcome::Notice { code, .. } => Some(code.as_str()),
        }
    }

    /// The summary, description or message.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Outcome::Success { summary } => summary,
            Outcome::Error { description, .. } => description,
            Outcome::Notice { message, .. } => message,
        }
    }

    /// The parameters, which a success has not.
    #[must_use]
    pub fn parameters(&self) -> &[String] {
        match self {
            Outcome::Success { .. } => &[],
            Outcome::Error { parameters, .. } | Outcome::Notice { parameters, .. } => parameters,
        }
    }
}
