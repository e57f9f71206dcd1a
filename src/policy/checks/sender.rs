//! Recognises mail systems and list managers by the reverse path. Many bounces
//! have an ordinary one, so From and Sender count too.

use crate::mail::{Address, ReversePath};
use crate::policy::facts::Facts;
use crate::policy::finding::{Finding, Quoted};
use crate::policy::lists::{Role, SenderEntry, is_verp_to, role_of};
use crate::policy::mailbox::mailboxes;
use crate::policy::tokens::words;

pub(in crate::policy) fn return_path(facts: &Facts<'_>) -> Option<Finding> {
    let envelope = &facts.envelope;
    match envelope.reverse_path {
        ReversePath::Null => Some(Finding::ignore("the reverse path is null")),
        ReversePath::Invalid(path) => Some(invalid(path)),
        ReversePath::Address(address) => of_address(facts, address),
    }
    .or_else(|| mail_system_in(facts, "From"))
    .or_else(|| mail_system_in(facts, "Sender"))
}

fn invalid(path: &str) -> Finding {
    match mailboxes(path).first().and_then(|own| role_of(&own.local)) {
        Some(entry) => Finding::ignore(format_args!(
            "the reverse path {} is {}",
            Quoted(path),
            entry.role.in_words()
        )),
        None => Finding::ignore(format_args!("the reverse path {} is invalid", Quoted(path))),
    }
}

fn of_address(facts: &Facts<'_>, address: &Address) -> Option<Finding> {
    let path = address.to_string();
    if let Some(entry) = role_of(address.local()).filter(|entry| entry.role != Role::NoReply) {
        return Some(Finding::ignore(format_args!(
            "the reverse path {} is {}",
            Quoted(&path),
            entry.role.in_words()
        )));
    }
    // A recipient may have an extension, or the gateway may be another's alias.
    let envelope = &facts.envelope;
    let mut recipients = envelope.gateway.iter().chain(envelope.recipients);
    if recipients.any(|own| is_verp_to(address.local(), own)) {
        return Some(Finding::ignore(format_args!(
            "the reverse path {} has this recipient in it, as list managers write it",
            Quoted(&path)
        )));
    }
    ends_in_number(address.domain()).then(|| {
        Finding::ignore(format_args!(
            "the reverse path {} has a number for a domain",
            Quoted(&path)
        ))
    })
}

/// An IPv4 address without brackets is no domain (RFC 5321 4.1.3), and no
/// top-level domain is a number (RFC 3696 2).
fn ends_in_number(domain: &str) -> bool {
    domain
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A tenth of all bounces can be recognised by nothing else.
fn mail_system_in(facts: &Facts<'_>, field: &str) -> Option<Finding> {
    facts.headers.get_all(field).find_map(|header| {
        let value = header.unfolded();
        let found = mailboxes(&value);
        let entry = found
            .iter()
            .find_map(|mailbox| mail_system(&mailbox.local))
            .or_else(|| {
                let has_address = found.iter().any(|mailbox| mailbox.domain.is_some());
                (!has_address).then(|| mail_system_named(&header.decoded()))?
            })?;
        Some(Finding::ignore(format_args!(
            "{field} {} is {}",
            Quoted(&value),
            entry.role.in_words()
        )))
    })
}

fn mail_system(local: &str) -> Option<&'static SenderEntry> {
    role_of(local).filter(|entry| entry.role == Role::MailSystem)
}

/// Looks at the name in a field without an address: at each word and at all
/// together, as in `Mail Delivery Subsystem <>`. Beside an address the name does not
/// count, because anybody can choose it.
fn mail_system_named(decoded: &str) -> Option<&'static SenderEntry> {
    let unquoted = decoded.replace('"', " ");
    let words: Vec<_> = words(&unquoted).collect();
    words
        .iter()
        .find_map(|word| mail_system(word))
        .or_else(|| mail_system(&words.join("-")))
}
