//! The service code at the start of a Subject (STS600-9-2 5.1.1), and the
//! attachment that each service expects.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use thiserror::Error;

use crate::printable::is_invisible;

/// The service that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServiceCode {
    /// `{KMS:Help}`, 5.1.2.
    Help,
    /// `{KMS:GetPublicKey}`, 5.1.3.
    GetPublicKey,
    /// `{KMS:GetKlfStsEd2}`, 5.1.4.
    GetKlfStsEd2,
    /// `{KMS:SmUpdateStsEd2}`, reserved for the STSA, 5.1.1.
    SmUpdateStsEd2,
    /// A well-formed code of no known service, as written, with its braces.
    Unknown(String),
}

/// The attachment that a service expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// None: any attachment is unexpected.
    NoAttachment,
    /// One text/plain attachment, 8.2.
    TextAttachment,
}

impl ServiceCode {
    /// The codes of all services.
    pub(crate) const KNOWN: &[ServiceCode] = &[
        ServiceCode::Help,
        ServiceCode::GetPublicKey,
        ServiceCode::GetKlfStsEd2,
        ServiceCode::SmUpdateStsEd2,
    ];

    /// The code with its braces.
    pub fn as_str(&self) -> &str {
        match self {
            ServiceCode::Help => "{KMS:Help}",
            ServiceCode::GetPublicKey => "{KMS:GetPublicKey}",
            ServiceCode::GetKlfStsEd2 => "{KMS:GetKlfStsEd2}",
            ServiceCode::SmUpdateStsEd2 => "{KMS:SmUpdateStsEd2}",
            ServiceCode::Unknown(code) => code,
        }
    }

    /// The attachment that the service expects.
    pub(crate) fn expects(&self) -> Expected {
        match self {
            ServiceCode::SmUpdateStsEd2 => Expected::TextAttachment,
            ServiceCode::Help
            | ServiceCode::GetPublicKey
            | ServiceCode::GetKlfStsEd2
            | ServiceCode::Unknown(_) => Expected::NoAttachment,
        }
    }
}

impl FromStr for ServiceCode {
    type Err = SubjectError;

    /// Reads the code that [`Self::as_str`] gives.
    fn from_str(code: &str) -> Result<Self, SubjectError> {
        parse_subject(code)
    }
}

impl Display for ServiceCode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a Subject begins with no service code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubjectError {
    /// There is no Subject field.
    #[error("there is no Subject")]
    Absent,
    /// The Subject begins with other text.
    #[error("the Subject does not begin with a service code")]
    NoCode,
    /// No closing brace, nothing inside, or a control character.
    #[error("the service code in the Subject is malformed")]
    Malformed,
}

/// Reads the service code at the start of a decoded Subject. Blanks may precede
/// it, and case doesn't count. Invisible characters count as blanks: mail
/// programs for right-to-left scripts and pasted text add them, and the author
/// does not see them.
///
/// # Errors
/// [`SubjectError`] if there is no code, or a malformed one.
pub(crate) fn parse_subject(subject: &str) -> Result<ServiceCode, SubjectError> {
    let subject = subject.trim_start_matches(|c: char| c.is_whitespace() || is_invisible(c));
    let rest = strip_opening(subject).ok_or(SubjectError::NoCode)?;
    let end = rest
        .find('}')
        .filter(|&end| end <= MAX_NAME)
        .ok_or(SubjectError::Malformed)?;
    let name = rest.get(..end).unwrap_or_default();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(SubjectError::Malformed);
    }
    let code = subject.get(..OPENING.len() + end + 1).unwrap_or_default();
    Ok(ServiceCode::KNOWN
        .iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(code))
        .cloned()
        .unwrap_or_else(|| ServiceCode::Unknown(code.to_owned())))
}

/// Octets of the name at most. A longer one is taken for an attack.
const MAX_NAME: usize = 1_000;
const OPENING: &str = "{KMS:";

fn strip_opening(text: &str) -> Option<&str> {
    let (start, rest) = text.split_at_checked(OPENING.len())?;
    start.eq_ignore_ascii_case(OPENING).then_some(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_without_regard_to_case_and_what_follows() {
        assert_eq!(parse_subject("{KMS:Help}"), Ok(ServiceCode::Help));
        assert_eq!(parse_subject(" \t{kms:hELP}x"), Ok(ServiceCode::Help));
        assert_eq!(
            parse_subject("{KMS:GetKlfStsEd2} order-17 }"),
            Ok(ServiceCode::GetKlfStsEd2)
        );
        for code in ServiceCode::KNOWN.iter().cloned() {
            assert_eq!(parse_subject(code.as_str()), Ok(code));
        }
        for unseen in [
            "\u{a0}",
            "\u{3000}",
            "\u{feff}",
            "\u{200f}\u{202b}",
            "\u{2068} \u{200b}",
        ] {
            let subject = format!("{unseen}{{KMS:Help}}");
            assert_eq!(
                parse_subject(&subject),
                Ok(ServiceCode::Help),
                "{subject:?}"
            );
        }
    }

    #[test]
    fn unknown_codes_are_codes() {
        for code in ["{KMS:x}", "{KMS: Help}", "{KMS:Hälp}", "{KMS:{KMS:Help}"] {
            assert_eq!(
                parse_subject(code),
                Ok(ServiceCode::Unknown(code.to_owned()))
            );
        }
    }

    #[test]
    fn malformed_codes() {
        let long = format!("{{KMS:{}}}", "x".repeat(MAX_NAME + 1));
        for subject in [
            "{KMS:",
            "{KMS:Help",
            "{KMS:}",
            "{KMS:He\tlp}",
            "{KMS:He\u{85}lp}",
            &long,
        ] {
            assert_eq!(
                parse_subject(subject),
                Err(SubjectError::Malformed),
                "{subject:?}"
            );
        }
    }

    #[test]
    fn a_code_stands_at_the_start() {
        for subject in [
            "Re: {KMS:Help}",
            "回复：{KMS:Help}",
            "[list] {KMS:Help}",
            "hello",
            "",
            "{KMS",
        ] {
            assert_eq!(
                parse_subject(subject),
                Err(SubjectError::NoCode),
                "{subject:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_subject_is_survived(subject in "\\PC*|[{}KMS: \ta\u{0}é]{0,30}") {
            let _ = parse_subject(&subject);
        }
    }
}
