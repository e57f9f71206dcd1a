//! The addresses in To, and the addresses that would get the reply.

use crate::mail::{
    Address, GatewayAddresses, Headers, LeftOut, Targets, named_in_to, reply_targets,
};
use crate::policy::facts::Facts;
use crate::policy::finding::{Finding, Quoted};
use crate::policy::lists::role_of;
use crate::policy::mailbox::gateway_in;

/// The configured address that To names first. The envelope names the gateway too,
/// because the rule `not-for-gateway` did not match.
pub(in crate::policy) fn named_gateway(facts: &Facts<'_>) -> Result<Address, Finding> {
    named_in_to(facts.headers, facts.envelope.gateway)
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

/// The addresses that get the reply: at least one, within the limit.
pub(in crate::policy) fn targets(facts: &Facts<'_>) -> Result<Targets, Finding> {
    let targets = whom_to_answer(
        facts.headers,
        facts.envelope.gateway,
        facts.settings.max_targets,
    );
    if targets.answered.is_empty() {
        return Err(nobody(&targets));
    }
    Ok(targets)
}

/// The addresses that get the reply, and those left out. The worker calls this
/// again when it reads a request from the store, so that both agree.
#[must_use]
pub(crate) fn whom_to_answer(
    headers: &Headers,
    gateway: &GatewayAddresses,
    limit: usize,
) -> Targets {
    reply_targets(headers, gateway, is_no_persons).limited(limit)
}

fn is_no_persons(address: &Address) -> bool {
    role_of(address.local()).is_some()
}

fn nobody(targets: &Targets) -> Finding {
    let Some((left_out, why)) = targets.left_out.first() else {
        return Finding::ignore("there is no address to answer");
    };
    let address = left_out.to_string();
    let address = Quoted(&address);
    match role_of(left_out.local()) {
        Some(entry) if *why == LeftOut::Automatic => Finding::ignore(format_args!(
            "no address is left to answer: {address} is {}",
            entry.role.in_words()
        )),
        _ => Finding::ignore(format_args!(
            "no address is left to answer: {address} ({})",
            why.as_str()
        )),
    }
}
