//! Builds what the store keeps of a judged message: the request with its identity,
//! and the audit entry. Knows no wire and no rule.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::{
    audit::{Entry, Event},
    mail::{self, Headers, Message, QueueIds, Request},
    policy::{Charges, ClientNetwork, Judgement, Listener, Trust, Verdict},
    request_id::RequestId,
    store::{NewRequest, NoticeSettings},
};

/// Stands for the queue id if the MTA sends none.
pub(super) const NO_QUEUE_ID: &str = "NONE";

/// A message that is a request, as it arrived.
pub(super) struct Arrival<'a> {
    pub(super) queue_id: &'a str,
    pub(super) accepted_at: Timestamp,
    pub(super) forget_before: Timestamp,
    pub(super) reverse_path: &'a str,
    pub(super) client: Option<IpAddr>,
    pub(super) message: &'a Message,
    pub(super) asking: Asking,
    /// Settings of the notice, should the request be put off.
    pub(super) notice: NoticeSettings,
}

/// The facts about a request that are not in its message.
pub(super) struct Asking {
    pub(super) identity: Option<[u8; 32]>,
    /// The evidence for the sender.
    pub(super) trust: Trust,
    /// The client's network, if it says something about the sender.
    pub(super) network: Option<ClientNetwork>,
    /// The request as the policy judged it.
    pub(super) request: Request,
    /// The allowances that the request is charged to.
    pub(super) charges: Charges,
}

impl Asking {
    /// For a request whose sender can't be determined.
    pub(super) fn of_nobody(request: Request) -> Self {
        Self {
            identity: None,
            trust: Trust::Stranger,
            network: None,
            request,
            charges: Charges::default(),
        }
    }
}

/// The request to be stored, with the audit entry of its acceptance. Requests keep
/// their order within each bucket, so that nobody waits behind another sender who
/// uses the same address.
pub(super) fn request(id: RequestId, arrival: Arrival<'_>, entry: Entry) -> NewRequest {
    let Asking {
        identity,
        trust,
        network,
        request,
        charges,
    } = arrival.asking;
    let sender = charges.sender.as_ref().map_or_else(
        || arrival.reverse_path.to_lowercase(),
        |charge| charge.key.to_string(),
    );
    NewRequest {
        accepted_at: arrival.accepted_at,
        forget_before: arrival.forget_before,
        queue_id: arrival.queue_id.to_owned(),
        reverse_path: arrival.reverse_path.to_owned(),
        client: arrival.client,
        sender,
        trust,
        network,
        request,
        identity,
        message: arrival.message.to_bytes(),
        charges,
        notice: arrival.notice,
        audit: Entry {
            request_id: Some(id.to_string()),
            ..entry
        },
        id,
    }
}

/// The identity by which the same message is recognised later; none without a queue
/// id. `first_queue_id` is the earlier queue id at the site's own Postfix.
pub(super) fn identity(
    queue_id: &str,
    first_queue_id: Option<&str>,
    message: &Message,
    request: &Request,
) -> Option<[u8; 32]> {
    if queue_id == NO_QUEUE_ID {
        return None;
    }
    let queue_ids = QueueIds {
        here: queue_id,
        first: first_queue_id.unwrap_or(queue_id),
    };
    Some(mail::identity(message, request, queue_ids))
}

/// The facts about a judged message that the audit log needs.
pub(super) struct Judged<'a> {
    pub(super) queue_id: &'a str,
    pub(super) listener: Listener,
    pub(super) client: Option<IpAddr>,
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
    let client = judged.client.map(|address| address.to_string());
    // The client of the internal listener is the site's own Postfix. If its trace does
    // not name the original client, only the topmost Received is known.
    let (client, helo) = match judged.listener {
        Listener::Outer => (client, judged.helo.map(str::to_owned)),
        Listener::Internal => (client.or_else(|| unfolded("Received")), None),
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
