//! A whole message, as the spool keeps it.

use super::header::Headers;
use super::mime::Structure;

/// A message: header fields and body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The fields in the order received.
    pub headers: Headers,
    /// The octets as received.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads a message with CRLF or LF line ends. Never fails: any bytes are a message.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let bytes = without_mailbox_line(bytes);
        let (headers, body_at) = Headers::parse(bytes);
        Message {
            headers,
            body: bytes.get(body_at..).unwrap_or_default().to_vec(),
        }
    }

    /// The message with CRLF line ends in its header. The body is as received.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.headers.size() + 2 + self.body.len());
        for header in &self.headers {
            header.write(&mut bytes);
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The MIME structure of the message.
    pub fn structure(&self) -> Structure<'_> {
        Structure::of(&self.headers, &self.body)
    }
}

/// Drops the `From ` line that a mailbox file (RFC 4155) puts before a message.
fn without_mailbox_line(bytes: &[u8]) -> &[u8] {
    let line_end = bytes.iter().position(|&octet| octet == b'\n');
    match line_end {
        Some(line_end) if bytes.starts_with(b"From ") => {
            bytes.get(line_end + 1..).unwrap_or_default()
        }
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::Message;

    #[test]
    fn header_and_body_part_at_the_empty_line() {
        let message = Message::from_bytes(b"A: 1\r\nB : 2\r\n 3\r\n\r\nC: 4\r\n");
        assert_eq!(message.headers.len(), 2);
        assert_eq!(message.headers.first("b").unwrap().unfolded(), " 2 3");
        assert_eq!(message.body, b"C: 4\r\n");
    }

    #[test]
    fn line_feeds_alone_will_do() {
        let message = Message::from_bytes(b"A: 1\n 2\n\nbody\n");
        assert_eq!(message.to_bytes(), b"A: 1\r\n 2\r\n\r\nbody\n");
    }

    #[test]
    fn a_line_that_is_no_field_begins_the_body() {
        let message = Message::from_bytes(b"A: 1\r\nno field\r\nB: 2\r\n");
        assert_eq!(message.headers.len(), 1);
        assert_eq!(message.body, b"no field\r\nB: 2\r\n");
    }

    #[test]
    fn the_line_of_a_mailbox_file_is_skipped() {
        let message = Message::from_bytes(b"From a@b Mon Jan  1 00:00:00 2024\nA: 1\n\n");
        assert_eq!(message.headers.len(), 1);
    }

    #[test]
    fn many_fields_are_read_once() {
        let bytes = b"X: y\r\n z\r\n".repeat(100_000);
        assert_eq!(Message::from_bytes(&bytes).headers.len(), 100_000);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_message(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let message = Message::from_bytes(&bytes);
            let _ = message.structure().plain_text();
        }

        /// The worker reads the same message that the milter wrote into the spool.
        #[test]
        fn what_is_written_is_read(
            fields in prop::collection::vec(("[!-9;-~]{1,12}|[ -~\\PC]{0,4}", "[ -~\r\n\t\u{80}é]{0,40}"), 0..12),
            body in "[ -~\r\n]{0,60}",
        ) {
            let mut message = Message { body: body.into_bytes(), ..Message::default() };
            for (name, value) in &fields {
                message.headers.push(name.as_bytes(), value.as_bytes());
            }
            prop_assert_eq!(Message::from_bytes(&message.to_bytes()), message);
        }
    }
}
