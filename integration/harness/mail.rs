//! Mail as it is sent and as it arrived.

use std::sync::atomic::{AtomicU32, Ordering};

use mail_parser::{MessageParser, MimeHeaders};

use super::{ALICE, GATEWAY};

/// A message to be sent: header fields in order, then the body as it is.
#[derive(Clone, Debug)]
pub struct Draft {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Draft {
    /// A request in plain text from Alice to the gateway, as the standard
    /// describes it. Each draft has a Message-ID of its own.
    pub fn request(subject: &str, body: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            headers: Vec::new(),
            body: body.replace('\n', "\r\n").into_bytes(),
        }
        .with("From", &format!("Alice Vendor <{ALICE}>"))
        .with("To", GATEWAY)
        .with("Subject", subject)
        .with("Date", "Mon, 29 Jun 2020 03:26:45 +0200")
        .with(
            "Message-ID",
            &format!("<{}.{number}@vendor.example>", std::process::id()),
        )
    }

    /// With this field instead of those of its name.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let field = (name.to_owned(), value.to_owned());
        match self.headers.iter_mut().find(|(found, _)| found == name) {
            Some(found) => *found = field,
            None => self.headers.push(field),
        }
        self
    }

    /// Without the fields of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self
    }

    /// With these very bytes as its body; lines end with CRLF.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The field's value.
    pub fn header(&self, name: &str) -> &str {
        let field = self.headers.iter().find(|(found, _)| found == name);
        &field.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A mail that was delivered into a Maildir; lines end with LF.
#[derive(Clone, Debug)]
pub struct Mail {
    raw: Vec<u8>,
}

impl Mail {
    pub fn new(raw: Vec<u8>) -> Self {
        Self { raw }
    }

    /// As it lies in the Maildir.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The header and the body, without the empty line between them.
    fn parts(&self) -> (String, &[u8]) {
        let end = self
            .raw
            .windows(2)
            .position(|pair| pair == b"\n\n")
            .expect("an empty line");
        (
            String::from_utf8_lossy(&self.raw[..=end]).into_owned(),
            &self.raw[end + 2..],
        )
    }

    /// Header fields in order, unfolded by deleting line ends only.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in self.parts().0.lines() {
            if line.starts_with([' ', '\t']) {
                fields
                    .last_mut()
                    .expect("a field to continue")
                    .1
                    .push_str(line);
            } else {
                let (name, value) = line.split_once(':').expect("a field");
                fields.push((
                    name.to_owned(),
                    value.strip_prefix(' ').unwrap_or(value).to_owned(),
                ));
            }
        }
        fields
    }

    /// The value of the one field of this name, if there is one.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut found = self
            .headers()
            .into_iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "more than one {name}");
        value
    }

    /// The elements of X-Gateway-Result (8.3.2).
    pub fn result(&self) -> Vec<String> {
        let value = self.header("X-Gateway-Result").expect("X-Gateway-Result");
        value.split('\t').map(str::to_owned).collect()
    }

    /// The text body.
    pub fn text(&self) -> String {
        let message = MessageParser::new().parse(&self.raw).expect("a message");
        message.body_text(0).expect("a text body").into_owned()
    }

    /// Name, type and content of the one attachment.
    pub fn attachment(&self) -> (String, String, Vec<u8>) {
        let message = MessageParser::new().parse(&self.raw).expect("a message");
        assert_eq!(message.attachment_count(), 1, "attachments");
        let attachment = message.attachment(0).expect("an attachment");
        let media_type = attachment.content_type().expect("a content type");
        (
            attachment.attachment_name().expect("a name").to_owned(),
            format!(
                "{}/{}",
                media_type.ctype(),
                media_type.subtype().unwrap_or_default()
            ),
            attachment.contents().to_vec(),
        )
    }

    /// Without the fields that virtual(8) put on top when it delivered.
    pub fn as_queued(&self) -> &[u8] {
        let fields = ["Return-Path: ", "X-Original-To: ", "Delivered-To: "];
        fields
            .iter()
            .fold(self.raw.as_slice(), |rest, name| without_field(rest, name))
    }

    /// Without Postfix's own Received as well: the same for the same message,
    /// each time.
    pub fn as_sent(&self) -> &[u8] {
        without_field(self.as_queued(), "Received: ")
    }
}

/// `mail` without its first field, which must be the one that begins so.
fn without_field<'a>(mail: &'a [u8], beginning: &str) -> &'a [u8] {
    assert!(
        mail.starts_with(beginning.as_bytes()),
        "{beginning:?} does not come first"
    );
    let is_end = |pair: &[u8]| pair[0] == b'\n' && !b" \t".contains(&pair[1]);
    let end = mail
        .windows(2)
        .position(is_end)
        .expect("an end of the field");
    &mail[end + 1..]
}
