//! Who sent a message, by its reverse path and, since many bounces carry an
//! ordinary one, by From and Sender.

use crate::mail::{Address, ReversePath};
use crate::policy::facts::Facts;
use crate::policy::finding::{Finding, Quoted};
use crate::policy::lists::{Role, is_verp_to, role_of};
use crate::policy::mailbox::mailboxes;

/// `return-path`
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
    if facts
        .envelope
        .gateway
        .iter()
        .any(|own| is_verp_to(address.local(), own))
    {
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

/// A tenth of all bounces can be told by nothing else.
fn mail_system_in(facts: &Facts<'_>, field: &str) -> Option<Finding> {
    facts.headers.get_all(field).find_map(|header| {
        let value = header.unfolded();
        let entry = mailboxes(&value).iter().find_map(|mailbox| {
            role_of(&mailbox.local).filter(|entry| entry.role == Role::MailSystem)
        })?;
        Some(Finding::ignore(format_args!(
            "{field} {} is {}",
            Quoted(&value),
            entry.role.in_words()
        )))
    })
}
