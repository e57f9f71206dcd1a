//! Whom a message is to, and who would be answered.

use crate::mail::{Address, Targets, reply_targets, to_addresses};
use crate::policy::facts::Facts;
use crate::policy::finding::{Finding, Quoted};
use crate::policy::lists::role_of;
use crate::policy::mailbox::gateway_in;

/// `not-in-to`
pub(in crate::policy) fn not_in_to(facts: &Facts<'_>) -> Option<Finding> {
    named_gateway(facts).err()
}

/// The configured address that To names first.
pub(in crate::policy) fn named_gateway(facts: &Facts<'_>) -> Result<Address, Finding> {
    let gateway = facts.envelope.gateway;
    to_addresses(facts.headers)
        .iter()
        .find_map(|address| gateway.find(address))
        .cloned()
        .ok_or_else(|| {
            Finding::ignore(if is_in_cc(facts) {
                "the gateway is in Cc and not in To"
            } else {
                "the gateway is not in To"
            })
        })
}

fn is_in_cc(facts: &Facts<'_>) -> bool {
    let gateway = facts.envelope.gateway;
    let mut copies = facts.headers.get_all("Cc");
    copies.any(|header| gateway_in(header, gateway).is_some())
}

/// `reply-target`
pub(in crate::policy) fn reply_target(facts: &Facts<'_>) -> Option<Finding> {
    targets(facts).err()
}

/// Who is answered: at least one, within the limit.
pub(in crate::policy) fn targets(facts: &Facts<'_>) -> Result<Targets, Finding> {
    let targets = reply_targets(facts.headers, facts.envelope.gateway);
    if targets.answered.is_empty() {
        return Err(nobody(&targets));
    }
    if targets.answered.iter().all(is_no_persons) {
        return Err(Finding::ignore(format_args!(
            "no address is left to answer: {}",
            answered_in_words(&targets)
        )));
    }
    Ok(targets.limited(facts.settings.max_targets))
}

fn is_no_persons(address: &Address) -> bool {
    role_of(address.local()).is_some()
}

fn answered_in_words(targets: &Targets) -> String {
    targets
        .answered
        .iter()
        .find_map(|address| {
            let role = role_of(address.local())?.role;
            let address = address.to_string();
            Some(format!("{} is {}", Quoted(&address), role.in_words()))
        })
        .unwrap_or_default()
}

fn nobody(targets: &Targets) -> Finding {
    match targets.left_out.first() {
        Some((address, why)) => {
            let address = address.to_string();
            Finding::ignore(format_args!(
                "no address is left to answer: {} ({})",
                Quoted(&address),
                why.as_str()
            ))
        }
        None => Finding::ignore("there is no address to answer"),
    }
}
