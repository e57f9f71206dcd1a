//! Makes what the store keeps of a judged message: the request with its
//! identity, and the audit entry. Knows no wire and no rule.

use std::net::IpAddr;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    audit::{Entry, Event},
    kms::RequestId,
    mail::{Client, Headers, Message, Request, compose_notice},
    policy::{Charges, Judgement, Listener, Verdict},
    store::{FinishedReply, NewRequest, NoticeWriter},
};

/// A message that is a request, as it arrived.
pub(super) struct Arrival<'a> {
    pub(super) queue_id: &'a str,
    pub(super) accepted_at: Timestamp,
    pub(super) reverse_path: &'a str,
    pub(super) client: Option<IpAddr>,
    pub(super) message: &'a Message,
    pub(super) charges: Charges,
    pub(super) notice: NoticeWriter,
}

/// The request to be stored, with the audit entry of its acceptance. The order
/// is kept for each bucket: behind another's requests under the same address
/// nobody waits.
pub(super) fn request(id: RequestId, arrival: Arrival<'_>, entry: Entry) -> NewRequest {
    let sender = arrival.charges.sender.as_ref().map_or_else(
        || arrival.reverse_path.to_lowercase(),
        |charge| charge.key.to_string(),
    );
    NewRequest {
        accepted_at: arrival.accepted_at,
        queue_id: arrival.queue_id.to_owned(),
        reverse_path: arrival.reverse_path.to_owned(),
        client: arrival.client,
        sender,
        identity: identity(arrival.reverse_path, arrival.message),
        message: arrival.message.to_bytes(),
        charges: arrival.charges,
        notice: arrival.notice,
        audit: Entry {
            request_id: Some(id.to_string()),
            ..entry
        },
        id,
    }
}

/// Writes the notices of a request, from `reverse_path`.
pub(super) fn notices(
    id: RequestId,
    request: Request,
    reverse_path: String,
    now: Timestamp,
) -> NoticeWriter {
    NoticeWriter::new(move |code, until| {
        Some(FinishedReply {
            late_notice: None,
            message: compose_notice(&request, &id.to_string(), code, until, now),
            reverse_path: reverse_path.clone(),
            targets: request.targets.iter().map(ToString::to_string).collect(),
        })
    })
}

/// What makes two deliveries one message: the reverse path, the fields that
/// its author wrote, and the body; never a field that a relay adds. `None`
/// for a message with neither Message-ID nor Date, which nothing tells from
/// its sibling.
fn identity(reverse_path: &str, message: &Message) -> Option<[u8; 32]> {
    let headers = &message.headers;
    if headers.first("Message-ID").is_none() && headers.first("Date").is_none() {
        return None;
    }
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(reverse_path.as_bytes());
    for name in ["From", "To", "Date", "Message-ID", "Subject"] {
        let mut fields = 0u64;
        for header in headers.get_all(name) {
            add(header.unfolded().as_bytes());
            fields += 1;
        }
        add(&fields.to_be_bytes());
    }
    add(&message.body);
    Some(digest.finalize().into())
}

/// A judged message, for the audit.
pub(super) struct Judged<'a> {
    pub(super) queue_id: &'a str,
    pub(super) listener: Listener,
    pub(super) client: &'a Client,
    pub(super) helo: Option<&'a str>,
    pub(super) reverse_path: &'a str,
    pub(super) recipients: Vec<String>,
    pub(super) headers: &'a Headers,
    pub(super) size: u64,
    pub(super) judgement: &'a Judgement,
}

/// The audit entry of a judged message.
pub(super) fn entry(judged: Judged<'_>, now: Timestamp) -> Entry {
    let judgement = judged.judgement;
    let event = match judgement.verdict() {
        Verdict::Request => Event::Accepted,
        _ => Event::Judged,
    };
    let unfolded = |name| {
        judged
            .headers
            .first(name)
            .map(|header| header.unfolded().trim().to_owned())
    };
    // By the internal listener the client is our own Postfix; the topmost
    // Received tells where it had the message from.
    let (client, helo) = match judged.listener {
        Listener::Outer => (
            judged.client.address.map(|address| address.to_string()),
            judged.helo.map(str::to_owned),
        ),
        Listener::Internal => (unfolded("Received"), None),
    };
    Entry {
        queue_id: Some(judged.queue_id.to_owned()),
        client,
        helo,
        size: Some(judged.size),
        from: unfolded("From"),
        subject: unfolded("Subject"),
        reverse_path: Some(judged.reverse_path.to_owned()),
        recipients: judged.recipients,
        message_id: unfolded("Message-ID"),
        verdict: Some(judgement.verdict().to_string()),
        rule: judgement.rule().map(|rule| rule.as_str().to_owned()),
        reason: judgement.reason().map(str::to_owned),
        service: judgement.asked().map(|asked| asked.service.to_string()),
        ..Entry::new(now, event)
    }
}
