//! The shape of a message: its header fields, its size, its attachments.

use crate::mail::{Expected, Part};
use crate::policy::facts::Facts;
use crate::policy::finding::Finding;

use super::service::service;

pub(in crate::policy) fn malformed(facts: &Facts<'_>) -> Option<Finding> {
    let count = |name| facts.headers.get_all(name).count();
    let limits = &facts.settings.limits;
    let fields = facts.headers.len();
    let octets = facts.headers.size();
    if fields > limits.max_headers {
        let limit = limits.max_headers;
        return Some(Finding::ignore(format_args!(
            "{fields} header fields, the limit is {limit}"
        )));
    }
    if octets > limits.max_header_bytes {
        let limit = limits.max_header_bytes;
        return Some(Finding::ignore(format_args!(
            "a header of {octets} octets, the limit is {limit}"
        )));
    }
    for name in ["From", "Subject"] {
        let found = count(name);
        if found > 1 {
            return Some(Finding::ignore(format_args!("{found} {name} fields")));
        }
    }
    (count("From") == 0 && count("Sender") == 0)
        .then(|| Finding::ignore("neither a From nor a Sender field"))
}

pub(in crate::policy) fn size(facts: &Facts<'_>) -> Option<Finding> {
    let limit = facts.settings.limits.max_message_bytes;
    if facts.size > limit {
        let size = facts.size;
        return Some(Finding::ignore(format_args!(
            "{size} octets, the limit is {limit}"
        )));
    }
    let unexpected = unexpected_octets(facts);
    let limit = facts.settings.limits.max_unexpected_attachment_bytes;
    (unexpected > limit).then(|| {
        Finding::ignore(format_args!(
            "{unexpected} octets of attachments that the service does not expect, the limit is {limit}"
        ))
    })
}

fn unexpected_octets(facts: &Facts<'_>) -> u64 {
    let structure = facts.structure;
    let expected = match service(facts).map(|service| service.expects()) {
        Ok(Expected::TextAttachment) => structure
            .attachments()
            .find(|part| part.content_type.is("text", "plain")),
        Ok(Expected::NoAttachment) | Err(_) => None,
    };
    let all: u64 = structure.attachments().map(octets).sum();
    all.saturating_sub(expected.map_or(0, octets))
}

fn octets(part: &Part<'_>) -> u64 {
    u64::try_from(part.size()).unwrap_or(u64::MAX)
}
