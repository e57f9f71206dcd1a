//! Recognises the gateway's own mail, and mail that goes round in circles.

use crate::mail::Address;
use crate::policy::facts::{Facts, Listener};
use crate::policy::finding::{Finding, Quoted};
use crate::policy::mailbox::gateway_in;

pub(in crate::policy) fn own_mail(facts: &Facts<'_>) -> Option<Finding> {
    from_gateway(facts)
        .or_else(|| own_loop_mark(facts))
        .or_else(|| {
            let result = facts.headers.first("X-Gateway-Result")?;
            Some(Finding::ignore(format_args!(
                "it is a gateway's reply: X-Gateway-Result {}",
                Quoted(&result.unfolded())
            )))
        })
}

fn from_gateway(facts: &Facts<'_>) -> Option<Finding> {
    let by_envelope = facts
        .envelope
        .reverse_path
        .address()
        .filter(|path| facts.envelope.gateway.contains(path))
        .cloned();
    by_envelope
        .or_else(|| gateway_in_field(facts, "From"))
        .or_else(|| gateway_in_field(facts, "Sender"))
        .map(|own| because("it is from the gateway itself,", &own))
}

/// Only an X-Loop of the gateway counts. Others use this field too.
fn own_loop_mark(facts: &Facts<'_>) -> Option<Finding> {
    gateway_in_field(facts, "X-Loop").map(|own| because("X-Loop names the gateway,", &own))
}

fn because(what: &str, own: &Address) -> Finding {
    Finding::ignore(format_args!("{what} {}", Quoted(&own.to_string())))
}

fn gateway_in_field(facts: &Facts<'_>, name: &str) -> Option<Address> {
    facts
        .headers
        .get_all(name)
        .find_map(|header| gateway_in(header, facts.envelope.gateway))
}

pub(in crate::policy) fn hops(facts: &Facts<'_>) -> Option<Finding> {
    // On the internal listener our own Postfix wrote the topmost field.
    let own = match facts.envelope.listener {
        Listener::Outer => 0,
        Listener::Internal => 1,
    };
    let received = facts
        .headers
        .get_all("Received")
        .count()
        .saturating_sub(own);
    let limit = facts.settings.limits.max_received;
    (received > limit).then(|| {
        Finding::ignore(format_args!(
            "{received} Received fields, the limit is {limit}"
        ))
    })
}
