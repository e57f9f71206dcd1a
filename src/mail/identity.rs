//! The identity of a message, by which two deliveries are recognised as one
//! message. A message comes twice if its sender or our own Postfix missed our
//! answer.
//!
//! The identity covers the meaning of all that decides the answer and its
//! recipients. A relay may fold a field or encode a text again without changing
//! it. It leaves out all that a relay adds.

use sha2::{Digest, Sha256};

use super::address_list;
use super::message::Message;
use super::request::{Attachment, Body, Request};

/// Fields whose addresses decide the sender and recipients of the answer.
const ADDRESSES: [&str; 4] = ["Reply-To", "From", "Sender", "To"];

/// Postfix's queue ids for a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueIds<'a> {
    /// The queue id of this delivery.
    pub(crate) here: &'a str,
    /// The queue id when our own Postfix took the message into its queue. It
    /// differs from `here` if the message comes out of that queue.
    pub(crate) first: &'a str,
}

/// The identity of the message that holds `request`. It is equal for two
/// deliveries of one message and differs for two messages.
///
/// The author's Message-ID distinguishes similar messages. Without one the
/// queue id does. So two similar requests without a Message-ID are two
/// messages, and a request that our own Postfix offers again is one message.
#[must_use]
pub(crate) fn identity(message: &Message, request: &Request, queue_ids: QueueIds<'_>) -> [u8; 32] {
    let mut parts = Parts::default();
    match authors_id(message, queue_ids) {
        Some(id) => {
            parts.add(b"Message-ID", id.as_bytes());
            parts.add_all(b"Date", dates(message));
        }
        // Leaves out the Date, which a relay may add too.
        None => parts.add(b"queue id", queue_ids.first.as_bytes()),
    }
    for name in ADDRESSES {
        let addresses = address_list::all(&message.headers, name);
        parts.add_all(name.as_bytes(), addresses.iter().map(ToString::to_string));
    }
    parts.add_request(request);
    parts.digest()
}

/// The Message-ID, unless it is missing or our own Postfix made it. Postfix's
/// Message-ID has the queue id in it and differs each time.
fn authors_id(message: &Message, queue_ids: QueueIds<'_>) -> Option<String> {
    let field = message.headers.first("Message-ID")?;
    let id = without_blanks(&field.unfolded());
    let is_ours = [queue_ids.here, queue_ids.first]
        .iter()
        .any(|queue_id| id.contains(&format!(".{queue_id}@")));
    let is_empty = matches!(id.as_str(), "" | "<>");
    (!is_ours && !is_empty).then_some(id)
}

fn dates(message: &Message) -> impl Iterator<Item = String> {
    let fields = message.headers.get_all("Date");
    fields.map(|field| without_blanks(&field.unfolded()))
}

fn without_blanks(text: &str) -> String {
    text.split_ascii_whitespace().collect()
}

/// A digest of parts. Each part goes in with its name and length.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        for text in [name, value] {
            self.0.update((text.len() as u64).to_be_bytes());
            self.0.update(text);
        }
    }

    fn add_all(&mut self, name: &[u8], values: impl IntoIterator<Item = String>) {
        for value in values {
            self.add(name, value.as_bytes());
        }
    }

    /// Adds all that a service or its reply takes from the request. Lists all
    /// fields by name, so that none is forgotten.
    fn add_request(&mut self, request: &Request) {
        let Request {
            code,
            subject,
            from_gateway,
            // The policy chose them from the address fields, by settings that
            // may change.
            targets: _,
            // The author's Message-ID is already covered.
            message_id: _,
            // The last reference is the request's Message-ID, which is already covered.
            references: _,
            body,
            attachments,
        } = request;
        self.add(b"code", code.as_str().as_bytes());
        self.add(b"subject", subject.as_bytes());
        self.add(b"gateway", from_gateway.to_string().as_bytes());
        match body {
            Body::Plain(text) => self.add(b"text", text.as_bytes()),
            Body::NotPlain => self.add(b"no text", b""),
        }
        for attachment in attachments {
            self.add_attachment(attachment);
        }
    }

    fn add_attachment(&mut self, attachment: &Attachment) {
        let Attachment {
            content_type,
            declared,
            name,
            content,
        } = attachment;
        self.add(b"attachment", content_type.as_bytes());
        self.add(b"declared", &[u8::from(*declared)]);
        self.add(b"name", name.as_deref().unwrap_or_default().as_bytes());
        self.add(b"content", content);
    }

    fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::mail::{Address, GatewayAddresses};

    const MESSAGE: &str = "From: Alice <alice@vendor.example>\r\n\
        To: gateway@kms.example.org\r\n\
        Subject: {KMS:Help} 1\r\n\
        Date: Sat, 28 Nov 2026 03:12:00 +0000\r\n\
        Message-ID: <1@vendor.example>\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: 8bit\r\n\
        \r\n\
        Gr\u{fc}\u{df}e an alle\r\n";

    fn identity_at(message: &str, queue_ids: QueueIds<'_>) -> [u8; 32] {
        let message = Message::from_bytes(message.as_bytes());
        let address = |text| Address::parse(text).unwrap();
        let gateway = GatewayAddresses::new(vec![address("gateway@kms.example.org")], "+");
        let targets = vec![address("alice@vendor.example")];
        let request = Request::from_message(&message, &gateway, targets).unwrap();
        identity(&message, &request, queue_ids)
    }

    /// The identity of a message that comes from its sender.
    fn of(message: &str, queue_id: &str) -> [u8; 32] {
        let queue_ids = QueueIds {
            here: queue_id,
            first: queue_id,
        };
        identity_at(message, queue_ids)
    }

    fn with(old: &str, new: &str) -> String {
        assert!(MESSAGE.contains(old), "{old}");
        MESSAGE.replacen(old, new, 1)
    }

    #[test]
    fn whatever_decides_the_answer_makes_another_message() {
        for (old, new) in [
            ("From:", "Reply-To: mallory@attacker.example\r\nFrom:"),
            ("From:", "Reply-To: alice@vendor.example\r\nFrom:"),
            ("From:", "Sender: bob@vendor.example\r\nFrom:"),
            ("alice@", "bob@"),
            ("To: gateway@", "To: gateway+x@"),
            ("To: gateway@", "To: bob@vendor.example, gateway@"),
            ("{KMS:Help}", "{KMS:GetPublicKey}"),
            ("Help} 1", "Help} 2"),
            ("03:12:00", "03:12:01"),
            ("<1@", "<2@"),
            ("Gr\u{fc}\u{df}e", "Gr\u{fc}sse"),
            ("text/plain", "text/html"),
            ("utf-8", "iso-8859-1"),
            (
                "8bit",
                "8bit\r\nContent-Disposition: attachment; filename=a.txt",
            ),
        ] {
            assert_ne!(of(&with(old, new), "Q1"), of(MESSAGE, "Q1"), "{new}");
        }
    }

    #[test]
    fn what_a_relay_does_makes_none() {
        let trace = "Return-Path: <alice@vendor.example>\r\n\
            Received: from x by y with ESMTP id Q1; Sat, 28 Nov 2026 03:12:01 +0000\r\n\
            DKIM-Signature: v=1\r\n\
            Authentication-Results: mx.example; spf=pass\r\nFrom:";
        for (old, new) in [
            ("From:", trace),
            ("Subject: {", "Subject:  {"),
            ("To: gateway", "To:\r\n\tgateway"),
            ("Sat, 28 Nov 2026", "Sat, 28\r\n Nov 2026"),
            (
                "From: Alice <alice@vendor.example>",
                "From: alice@Vendor.Example (Alice)",
            ),
            ("Message-ID: <", "Message-Id:\r\n <"),
        ] {
            assert_eq!(of(&with(old, new), "Q2"), of(MESSAGE, "Q1"), "{new}");
        }
        let quoted = with("8bit", "quoted-printable").replace('\u{fc}', "=C3=BC");
        assert_eq!(
            of(&quoted.replace('\u{df}', "=C3=9F"), "Q2"),
            of(MESSAGE, "Q1")
        );
        let (header, _) = MESSAGE.split_once("\r\n\r\n").unwrap();
        let header = header.replace("8bit", "base64");
        let encoded = format!("{header}\r\n\r\nR3LDvMOfZSBhbiBhbGxlDQo=\r\n");
        assert_eq!(of(&encoded, "Q2"), of(MESSAGE, "Q1"));
    }

    #[test]
    fn without_an_authors_id_each_that_postfix_takes_is_a_message() {
        for nameless in [
            with("Message-ID: <1@vendor.example>\r\n", ""),
            with("<1@vendor.example>", ""),
            with("<1@vendor.example>", "<>"),
        ] {
            assert_eq!(of(&nameless, "Q1"), of(&nameless, "Q1"));
            assert_ne!(of(&nameless, "Q1"), of(&nameless, "Q2"));
        }
    }

    /// cleanup(8) adds the missing fields to a local client's message.
    #[test]
    fn an_id_that_our_own_postfix_added_is_none() {
        let nameless = with("Message-ID: <1@vendor.example>\r\n", "");
        let from_queue = QueueIds {
            here: "Q2",
            first: "Q1",
        };
        let named = |queue_id| {
            let id = format!("<20261128031200.{queue_id}@mail.kms.example.org>");
            with("<1@vendor.example>", &id)
        };
        // Postfix's Message-ID, with the queue id of this delivery or of the first one.
        assert_eq!(identity_at(&named("Q2"), from_queue), of(&nameless, "Q1"));
        assert_eq!(
            identity_at(&named("Q1"), from_queue),
            of(&named("Q1"), "Q1")
        );
        let undated = nameless.replace("Date: Sat, 28 Nov 2026 03:12:00 +0000\r\n", "");
        assert_eq!(identity_at(&named("Q2"), from_queue), of(&undated, "Q1"));
        // An id with any other queue id is the author's.
        assert_eq!(of(&named("Q7"), "Q1"), of(&named("Q7"), "Q3"));
    }
}
