//! A request from a message, and its reply. No text of the message ends a field
//! or a line of the reply. The reply repeats the request's subject and ids.

use std::slice;

use jiff::Timestamp;
use kms_gateway::mail::{
    Body, ErrorCode, Message, Outcome, REPLY_PREFIX, ReplyStamp, ReplyText, Request, compose,
    from_addresses, gateway_result, reply_targets, to_addresses,
};

use super::gateway;

/// The fields of every reply, in order.
const FIELDS: [&str; 12] = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "Precedence",
    "X-Auto-Response-Suppress",
    "X-Loop",
    "X-Gateway-Result",
    "MIME-Version",
    "Content-Type",
];
/// Fields that only some replies have.
const OPTIONAL: [&str; 3] = ["In-Reply-To", "References", "Content-Transfer-Encoding"];

/// Takes the octets as a message.
pub fn check(data: &[u8]) {
    let message = Message::from_bytes(data);
    assert_eq!(Message::from_bytes(&message.to_bytes()), message);
    let gateway = gateway::addresses();
    let targets = reply_targets(&message.headers, &gateway, |_| false).limited(5);
    let request = Request::from_message(&message, &gateway, targets.answered);
    check_sizes(&message, request.as_ref().ok());
    if let Ok(request) = request {
        check_request(&request);
        check_reply(&request);
    }
}

/// Decoded content isn't larger than the message, except for characters that
/// need more octets in UTF-8.
fn check_sizes(message: &Message, request: Option<&Request>) {
    let sent = message.body.len();
    let text = message.structure().plain_text();
    assert!(text.is_none_or(|text| text.len() <= 4 * sent + 64));
    let attachments = request.map(|request| request.attachments.iter());
    let files: usize = attachments
        .into_iter()
        .flatten()
        .map(|file| file.content.len())
        .sum();
    assert!(files <= sent, "{files} octets of {sent}");
}

fn check_request(request: &Request) {
    assert!(!request.subject.chars().any(char::is_control));
    assert!(request.subject.chars().count() <= 2_000);
    assert!((1..=5).contains(&request.targets.len()));
    assert!(request.references.len() <= 10);
    let ids = request.references.iter().chain(&request.message_id);
    for id in ids {
        assert!(id.len() <= 900 && id.bytes().all(|octet| octet.is_ascii_graphic()));
    }
}

fn check_reply(request: &Request) {
    let outcome = Outcome::error(ErrorCode::UnknownService)
        .with_parameter(request.code.as_str())
        .with_parameter(&request.subject);
    let text = ReplyText {
        body: body(request),
        attachment: None,
    };
    let stamp = ReplyStamp {
        message_id: "<1.result@kms.example.org>".to_owned(),
        date: Timestamp::UNIX_EPOCH,
    };
    let reply = compose(request, &outcome, &text, &stamp);
    assert_eq!(compose(request, &outcome, &text, &stamp), reply);
    check_lines(&reply);
    let message = Message::from_bytes(&reply);
    check_fields(&message);
    check_values(&message, request, &outcome);
}

fn body(request: &Request) -> String {
    match &request.body {
        Body::Plain(text) => text.clone(),
        Body::NotPlain => String::new(),
    }
}

fn check_lines(reply: &[u8]) {
    let text = String::from_utf8_lossy(reply);
    for line in text.split("\r\n") {
        assert!(line.len() <= 998, "{line}");
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
    }
}

/// The reply has only the gateway's fields, and none of them twice.
fn check_fields(reply: &Message) {
    let mut names: Vec<String> = reply
        .headers
        .iter()
        .map(|field| field.name().into_owned())
        .collect();
    names.retain(|name| !OPTIONAL.contains(&name.as_str()));
    assert_eq!(names, FIELDS);
    for name in OPTIONAL {
        assert!(reply.headers.get_all(name).count() <= 1, "{name}");
    }
}

fn check_values(reply: &Message, request: &Request, outcome: &Outcome) {
    let headers = &reply.headers;
    let subject = headers.first("Subject").unwrap().decoded();
    assert_eq!(subject, format!("{REPLY_PREFIX}{}", request.subject));
    let result = headers.first(gateway_result::NAME).unwrap().unfolded();
    assert_eq!(
        gateway_result::read(&result),
        Ok(gateway_result::elements(outcome))
    );
    assert_eq!(
        from_addresses(headers),
        slice::from_ref(&request.from_gateway)
    );
    assert_eq!(to_addresses(headers), request.targets);
    let in_reply_to = headers.first("In-Reply-To");
    let id = in_reply_to.map(|field| field.unfolded().trim().to_owned());
    assert_eq!(id, request.message_id);
}
