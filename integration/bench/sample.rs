//! Requests as the milter hands them to the store. Each is a mail of 1 KiB from a sender of its
//! own, whose domain authenticated it.

use std::{net::IpAddr, ops::Range};

use jiff::Timestamp;
use kms_gateway::{
    audit::Entry,
    mail::{Address, Message, Request, ServiceCode},
    policy::{Sender, Throttle, Trust},
    request_id::RequestId,
    store::{NewRequest, NoticeSettings},
};
use serde_json::json;

use super::harness::GATEWAY;

const SUBJECT: &str = "{KMS:Help} How do I ask for vending keys?";

/// The requests with these numbers. No two have the same number in one store.
pub fn requests(numbers: Range<usize>) -> Vec<NewRequest> {
    numbers.map(request).collect()
}

fn request(number: usize) -> NewRequest {
    let now = Timestamp::now();
    let author: Address = format!("vendor@vendor{number}.example")
        .parse()
        .expect("an address");
    let sender = Sender::Authenticated(author.clone());
    let targets = vec![author.clone()];
    NewRequest {
        id: RequestId::from_bytes(numbered(number)),
        accepted_at: now,
        queue_id: queue_id(number),
        reverse_path: author.to_string(),
        client: Some(IpAddr::from([192, 0, 2, 1])),
        sender: format!("authenticated {author}"),
        identity: Some(numbered(number)),
        trust: Trust::Verified,
        network: None,
        charges: Throttle::default().allowances().charges(&sender, &targets),
        request: Request::judged(
            &Message::from_bytes(format!("Subject: {SUBJECT}\r\n\r\n").as_bytes()),
            ServiceCode::Help,
            GATEWAY.parse().expect("an address"),
            targets,
        ),
        message: vec![b'x'; 1024],
        forget_before: now - NewRequest::IDENTITY_KEPT,
        notice: NoticeSettings::default(),
        audit: entry(number, &author, now),
    }
}

/// The entry with what the milter notes of a message.
fn entry(number: usize, author: &Address, now: Timestamp) -> Entry {
    let entry = json!({
        "time": now.to_string(),
        "event": "accepted",
        "queue_id": queue_id(number),
        "client": "192.0.2.1",
        "helo": "mail.vendor.example",
        "reverse_path": author.to_string(),
        "recipients": [GATEWAY],
        "from": format!("A Vendor <{author}>"),
        "subject": SUBJECT,
        "message_id": format!("<{number}.20260301@vendor.example>"),
        "size": 1024,
        "verdict": "request",
        "service": "Help",
    });
    serde_json::from_value(entry).expect("an entry")
}

fn queue_id(number: usize) -> String {
    format!("4bXyZq{number:07}")
}

/// Bytes that begin with the number.
fn numbered<const N: usize>(number: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}
