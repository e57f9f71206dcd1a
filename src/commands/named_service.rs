//! A service as an operator names it in a filter.

use std::str::FromStr;

use crate::mail::{ServiceCode, parse_subject};

/// One of the gateway's services by its name, or any service code with its braces:
/// strangers ask for services that do not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedService(ServiceCode);

impl NamedService {
    /// Whether a code names this service. Case does not count.
    pub(super) fn is(&self, code: &str) -> bool {
        self.0.as_str().eq_ignore_ascii_case(code)
    }
}

impl FromStr for NamedService {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let in_full = match text.starts_with('{') {
            true => text.to_owned(),
            false => format!("{{KMS:{text}}}"),
        };
        let code = parse_subject(&in_full).ok();
        let code = code.filter(|code| code.as_str().len() == in_full.len());
        match code {
            Some(ServiceCode::Unknown(_)) if in_full != text => Err(unknown(text)),
            Some(code) => Ok(Self(code)),
            None => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> String {
    let known = ServiceCode::KNOWN.iter();
    let known: Vec<&str> = known.map(ServiceCode::as_str).collect();
    format!(
        "{text:?} is no service; write one of {}, or any other service code with its braces",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_service_of_ours_has_a_name_and_any_other_its_code() {
        for (text, code) in [
            ("Help", "{KMS:Help}"),
            ("getpublickey", "{KMS:GetPublicKey}"),
            ("{kms:help}", "{KMS:Help}"),
            ("{KMS:Foo}", "{kms:foo}"),
        ] {
            let service: NamedService = text.parse().unwrap();
            assert!(service.is(code), "{text}");
            assert!(!service.is("{KMS:GetKlfStsEd2}"), "{text}");
        }
    }

    #[test]
    fn what_names_none_lists_those_that_there_are() {
        for text in [
            "Foo",
            "",
            "KMS",
            "{KMS:}",
            "{KMS:Foo",
            "{KMS:Foo} x",
            "Foo}",
            "{Foo}",
        ] {
            let error = text.parse::<NamedService>().unwrap_err();
            for known in ServiceCode::KNOWN {
                assert!(error.contains(known.as_str()), "{text}: {error}");
            }
        }
    }
}
