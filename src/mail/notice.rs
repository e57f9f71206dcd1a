//! Notices: mail about a request whose result comes later (STS600-9-2 8.3.2).

use jiff::Timestamp;

use super::header::Headers;
use super::outcome::Outcome;
use super::prose::wrap_prose;
use super::reply::{ReplyStamp, ReplyText, compose, compose_from};
use super::request::Request;
use super::result_code::NoticeCode;
use super::threading::{at_step, reply_message_id};

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
    let stamp = stamp(request, request_id, code, now);
    let text = text(code, &happened(code, until));
    compose(request, &outcome, &text, &stamp)
}

/// The code of a late notice.
const LATE: NoticeCode = NoticeCode::Deferred;

/// Composes the notice that a request will be answered later than usual, at an
/// unknown time, as a whole message.
#[must_use]
pub(crate) fn compose_late_notice(request: &Request, request_id: &str, now: Timestamp) -> Vec<u8> {
    let stamp = stamp(request, request_id, LATE, now);
    compose(request, &Outcome::notice(LATE), &late_text(), &stamp)
}

/// The same as [`compose_late_notice`] for a request that has its result already.
/// `reply` is the whole message with the result, which could not be sent.
#[must_use]
pub(crate) fn compose_late_notice_before(reply: &[u8], now: Timestamp) -> Vec<u8> {
    let (headers, _) = Headers::parse(reply);
    let id = headers.first("Message-ID").map(|field| field.unfolded());
    let stamp = ReplyStamp {
        message_id: at_step(id.unwrap_or_default().trim(), &step(LATE)),
        date: now,
    };
    compose_from(&headers, &Outcome::notice(LATE), &late_text(), &stamp)
}

fn late_text() -> ReplyText {
    const HAPPENED: &str = "Your request has not been answered yet, because something that the \
        gateway needs for it is out of order. The gateway keeps the request and tries again. You \
        don't need to do anything. You get no further notice, only the answer.";
    text(LATE, HAPPENED)
}

fn stamp(request: &Request, request_id: &str, code: NoticeCode, now: Timestamp) -> ReplyStamp {
    ReplyStamp {
        message_id: reply_message_id(request_id, &step(code), request.from_gateway.domain()),
        date: now,
    }
}

/// The step of the request at which it gets this notice.
fn step(code: NoticeCode) -> String {
    code.as_str().to_ascii_lowercase()
}

fn text(code: NoticeCode, happened: &str) -> ReplyText {
    ReplyText {
        body: format!("{}\n\nNotice code: {code}\n", wrap_prose(happened)),
        attachment: None,
    }
}

fn happened(code: NoticeCode, until: Timestamp) -> String {
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

    use proptest::prelude::*;

    use super::*;
    use crate::mail::{
        Address, ErrorCode, GatewayAddresses, Message, ReplyAttachment, ServiceCode,
    };

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

    /// A header field of a request, or none.
    fn request_field(
        name: &'static str,
        value: impl Strategy<Value = String>,
    ) -> impl Strategy<Value = String> {
        prop_oneof![
            1 => Just(String::new()),
            9 => value.prop_map(move |value| format!("{name}: {value}\r\n")),
        ]
    }

    fn subjects() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,80}",
            "[ -~]{0,40}(=\\?utf-8\\?[qb]\\?[ -~]{0,30}\\?= ?){0,4}",
            "([ -~]{0,20}=\\?){1,4}",
            "[\\PC\t]{0,300}",
            "([a-z=]{1,30}  ?){60,200}",
            "[a-z]{850,1100}",
            "(é|z| |\u{80}){2000,2400}",
            "([!-~]{1,40}\r\n[ \t]){0,8} ",
        ]
    }

    fn ids() -> impl Strategy<Value = String> {
        prop_oneof![
            "<[a-z0-9.=?$-]{1,60}@[a-z.]{1,60}>( \\(a comment\\))?",
            "<[a-z]{870,920}@x>",
            "[ -~é]{0,20}",
        ]
    }

    fn references() -> impl Strategy<Value = String> {
        prop::collection::vec(
            (
                ids(),
                prop_oneof![Just(" "), Just("\r\n "), Just("\r\n\t  ")],
            ),
            0..14,
        )
        .prop_map(|ids| ids.into_iter().map(|(id, blank)| id + blank).collect())
    }

    fn addresses() -> impl Strategy<Value = Address> {
        let texts = [
            "jane@vendor.example",
            "JANE.O'Neil+x=?y@Vendor.Example",
            "\"jane \\\"x\\\" @ home\"@vendor.example",
            "jane@[192.0.2.1]",
            "jane@[IPv6:2001:db8::1]",
            "jané@vendör.example",
            "a-local-part-of-many-octets.that-goes-on-and-on.to-its-end@a-long-label.vendor.example",
        ];
        prop::sample::select(texts.map(|text| Address::parse(text).unwrap()).to_vec())
    }

    prop_compose! {
        fn requests()(
            subject in request_field("Subject", subjects()),
            id in request_field("Message-ID", ids()),
            references in request_field("References", references()),
            gateway in addresses(),
            targets in prop::collection::vec(addresses(), 1..6),
            limit in prop::option::of(0_usize..400),
        ) -> Request {
            let message = format!("{subject}{id}{references}\r\nbody\r\n");
            let message = Message::from_bytes(message.as_bytes());
            let request = Request::judged(&message, ServiceCode::Help, gateway, targets);
            match limit {
                Some(limit) => request.shortened(limit),
                None => request,
            }
        }
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let parameters = prop::collection::vec("[ -~]{0,300}", 0..8);
        prop_oneof![
            Just(Outcome::success()),
            parameters.prop_map(|parameters| Outcome::Error {
                code: ErrorCode::UnknownService,
                description: "Not this one".to_owned(),
                parameters,
            }),
        ]
    }

    proptest! {
        /// Whether a request or its reply is late, the requester gets the same notice.
        #[test]
        fn the_reply_gives_the_notice_that_its_request_gives(
            request in requests(),
            outcome in outcomes(),
            has_attachment: bool,
            seconds in 0_i64..4_000_000_000,
        ) {
            let (id, now) = ("00ff", Timestamp::from_second(seconds).unwrap());
            let result = ReplyStamp {
                message_id: reply_message_id(id, "result", request.from_gateway.domain()),
                date: Timestamp::UNIX_EPOCH,
            };
            let text = ReplyText {
                body: "Date: none\n\nX-Gateway-Result: none\n".to_owned(),
                attachment: has_attachment.then(|| ReplyAttachment {
                    name: "a.txt".to_owned(),
                    content: b"Message-ID: none".to_vec(),
                }),
            };
            let reply = compose(&request, &outcome, &text, &result);
            let from_reply = compose_late_notice_before(&reply, now);
            let from_request = compose_late_notice(&request, id, now);
            prop_assert_eq!(from_reply.escape_ascii().to_string(), from_request.escape_ascii().to_string());
        }
    }
}
