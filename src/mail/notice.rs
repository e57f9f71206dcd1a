//! Notices: mail about a request whose result comes later (STS600-9-2 8.3.2).

use jiff::Timestamp;

use super::outcome::Outcome;
use super::prose::wrap_prose;
use super::reply::{ReplyStamp, ReplyText, compose};
use super::request::Request;
use super::result_code::NoticeCode;
use super::threading::reply_message_id;

/// Composes the notice that a request will be answered at `until`, as a whole
/// message. The code's parameter is this time, in the format of records.
#[must_use]
pub(crate) fn compose_notice(
    request: &Request,
    request_id: &str,
    code: NoticeCode,
    until: Timestamp,
    now: Timestamp,
) -> Vec<u8> {
    let outcome =
        Outcome::notice(code).with_parameter(until.strftime("%Y%m%dT%H%M%SZ").to_string());
    compose_as(request, request_id, code, &outcome, &body(code, until), now)
}

/// Composes the notice that a request will be answered later than usual, at an
/// unknown time, as a whole message.
#[must_use]
pub(crate) fn compose_late_notice(request: &Request, request_id: &str, now: Timestamp) -> Vec<u8> {
    const HAPPENED: &str = "Your request has not been answered yet, because something that the \
        gateway needs for it is out of order. The gateway keeps the request and tries again. You \
        don't need to do anything. You get no further notice, only the answer.";
    let code = NoticeCode::Deferred;
    let outcome = Outcome::notice(code);
    compose_as(request, request_id, code, &outcome, HAPPENED, now)
}

fn compose_as(
    request: &Request,
    request_id: &str,
    code: NoticeCode,
    outcome: &Outcome,
    happened: &str,
    now: Timestamp,
) -> Vec<u8> {
    let text = ReplyText {
        body: format!("{}\n\nNotice code: {code}\n", wrap_prose(happened)),
        attachment: None,
    };
    let step = code.as_str().to_ascii_lowercase();
    let stamp = ReplyStamp {
        message_id: reply_message_id(request_id, &step, request.from_gateway.domain()),
        date: now,
    };
    compose(request, outcome, &text, &stamp)
}

fn body(code: NoticeCode, until: Timestamp) -> String {
    let until = until.strftime("%Y-%m-%d %H:%M:%S UTC");
    match code {
        NoticeCode::Deferred => format!(
            "Many requests came from you in a short time. The gateway keeps this one and answers \
             it at about {until}. It answers later ones in their turn. You don't need to do \
             anything. You get no further notice, only the answers."
        ),
        NoticeCode::Blocked => format!(
            "Too many requests came from you in a short time. You are blocked until {until}. \
             The gateway keeps this request and answers it then. It does not read anything that \
             you send before."
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::{Address, GatewayAddresses, Message};

    fn notice(code: NoticeCode) -> Message {
        let request = Message::from_bytes(
            b"From: jane@vendor.example\r\nTo: gateway@kms.example.org\r\n\
              Message-ID: <1@vendor.example>\r\nSubject: {KMS:Help} x\r\n\r\n\r\n",
        );
        let own = Address::parse("gateway@kms.example.org").unwrap();
        let targets = vec![Address::parse("jane@vendor.example").unwrap()];
        let request =
            Request::from_message(&request, &GatewayAddresses::new(vec![own], ""), targets)
                .unwrap();
        let until = "2026-03-01T13:00:00.5Z".parse().unwrap();
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        Message::from_bytes(&compose_notice(&request, "00ff", code, until, now))
    }

    fn field(message: &Message, name: &str) -> String {
        let header = message.headers.first(name).unwrap();
        header.unfolded().trim().to_owned()
    }

    #[test]
    fn a_notice_says_until_when() {
        let message = notice(NoticeCode::Blocked);
        let result = field(&message, "X-Gateway-Result");
        let elements: Vec<&str> = result.split('\t').collect();
        let description = NoticeCode::Blocked.description();
        assert_eq!(
            elements,
            ["Notice", "Blocked", &description, "20260301T130000Z"]
        );
        let body = String::from_utf8(message.body.clone()).unwrap();
        assert!(body.contains("2026-03-01 13:00:00 UTC"), "{body}");
    }

    #[test]
    fn a_notice_is_a_reply_with_an_id_of_its_own() {
        for (code, id) in [
            (NoticeCode::Deferred, "<00ff.deferred@kms.example.org>"),
            (NoticeCode::Blocked, "<00ff.blocked@kms.example.org>"),
        ] {
            let message = notice(code);
            assert_eq!(field(&message, "Message-ID"), id);
            assert_eq!(field(&message, "In-Reply-To"), "<1@vendor.example>");
            assert_eq!(field(&message, "Subject"), "Auto: {KMS:Help} x");
            assert_eq!(field(&message, "Auto-Submitted"), "auto-replied");
        }
    }
}
