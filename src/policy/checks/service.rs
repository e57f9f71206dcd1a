//! The service code at the start of the Subject.

use crate::mail::{ServiceCode, SubjectError, parse_subject};
use crate::policy::facts::Facts;
use crate::policy::finding::{Finding, Quoted};
use crate::policy::lists::mark_of;

/// The service that a message asks for.
pub(in crate::policy) fn service(facts: &Facts<'_>) -> Result<ServiceCode, Finding> {
    let subject = facts
        .headers
        .first("Subject")
        .ok_or_else(|| Finding::ignore("there is no Subject"))?
        .decoded();
    parse_subject(&subject).map_err(|error| no_code(&subject, &error))
}

fn no_code(subject: &str, error: &SubjectError) -> Finding {
    if *error == SubjectError::Malformed {
        return Finding::ignore(format_args!(
            "the service code in the Subject {} is malformed",
            Quoted(subject)
        ));
    }
    match mark_of(subject) {
        Some(entry) => Finding::ignore(format_args!(
            "the Subject {} is that of {} ({})",
            Quoted(subject),
            entry.kind.in_words(),
            entry.source
        )),
        None => Finding::ignore(format_args!(
            "the Subject {} does not begin with a service code",
            Quoted(subject)
        )),
    }
}
