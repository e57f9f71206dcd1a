//! The checks that need only the envelope and the client.

use crate::policy::dnsbl::{Hit, Score};
use crate::policy::facts::Envelope;
use crate::policy::finding::{Finding, Quoted};
use crate::policy::verdict::Verdict;

pub(in crate::policy) fn not_for_gateway(envelope: &Envelope<'_>) -> Option<Finding> {
    let is_for_gateway = envelope
        .recipients
        .iter()
        .any(|recipient| envelope.gateway.contains(recipient));
    (!is_for_gateway).then(|| Finding::new(Verdict::Pass, "no recipient is the gateway"))
}

pub(in crate::policy) fn dnsbl(envelope: &Envelope<'_>, score: &Score) -> Option<Finding> {
    if !score.is_listed() {
        return None;
    }
    let client = envelope
        .client
        .address
        .map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let zones: Vec<String> = score.against().map(zone_in_words).collect();
    Some(Finding::new(
        Verdict::Reject,
        format_args!("client [{client}] is listed in {}", zones.join(", ")),
    ))
}

/// The zone, its code, and the text of its TXT record.
fn zone_in_words(hit: &Hit) -> String {
    let text = hit.text.as_deref().map(Quoted);
    let text = text.map_or_else(String::new, |text| format!(": {text}"));
    format!("{} ({}{text})", hit.zone, hit.code)
}
