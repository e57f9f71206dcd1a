//! One part of a message, as a reader sees it.

use std::borrow::Cow;

use super::super::charset;
use super::super::flowed;
use super::super::header::Headers;
use super::super::transfer_encoding::TransferEncoding;
use super::content_type::{self, ContentType, Disposition};

/// Types of files in which programs put a whole message, its text with it:
/// Outlook's TNEF, S/MIME and PGP.
const WRAPPERS: [&str; 6] = [
    "application/ms-tnef",
    "application/vnd.ms-tnef",
    "application/pkcs7-mime",
    "application/x-pkcs7-mime",
    "application/pgp",
    "application/pgp-encrypted",
];

/// One part that isn't a multipart; or one that is, and can't be split.
#[derive(Clone, Debug)]
pub struct Part<'m> {
    /// text/plain where nothing valid is stated.
    pub content_type: ContentType,
    /// None where nothing is stated.
    pub disposition: Option<Disposition>,
    /// The file's name.
    pub name: Option<String>,
    encoding: TransferEncoding,
    raw: &'m [u8],
    is_file: bool,
}

impl<'m> Part<'m> {
    pub(super) fn new(headers: &Headers, content_type: ContentType, raw: &'m [u8]) -> Self {
        let (disposition, name) = content_type::disposition(headers, &content_type);
        // What is in an encoding not known is of a type not known, RFC 2045 6.4.
        let (content_type, encoding) = match TransferEncoding::of(headers) {
            Some(encoding) => (content_type, encoding),
            None => (ContentType::octet_stream(), TransferEncoding::Identity),
        };
        let is_file = match disposition {
            Some(Disposition::Attachment) => true,
            Some(Disposition::Inline) | None => name.is_some() || content_type.kind != "text",
        };
        Part {
            content_type,
            disposition,
            name,
            encoding,
            raw,
            is_file,
        }
    }

    /// What nobody looked into.
    pub(super) fn opaque(raw: &'m [u8]) -> Self {
        Part {
            content_type: ContentType::octet_stream(),
            disposition: None,
            name: None,
            encoding: TransferEncoding::Identity,
            raw,
            is_file: true,
        }
    }

    pub(super) fn make_text(&mut self) {
        self.is_file = false;
    }

    /// Whether a reader shows it as a file: it is declared one, has a file
    /// name, or isn't text.
    #[must_use]
    pub fn is_attachment(&self) -> bool {
        self.is_file
    }

    /// Whether Content-Disposition declares it a file, as STS600-9-2 8.2 asks
    /// of those that a service needs.
    #[must_use]
    pub fn is_declared_attachment(&self) -> bool {
        self.disposition == Some(Disposition::Attachment)
    }

    /// Whether the text of the message may stand here in another form: HTML, or
    /// a file that wraps the whole message.
    pub(super) fn holds_other_text(&self) -> bool {
        let is_named = |name: &String| name.eq_ignore_ascii_case("winmail.dat");
        match self.content_type.kind.as_str() {
            "text" => self.content_type.subtype != "plain" && !self.is_declared_attachment(),
            _ => {
                WRAPPERS.contains(&self.content_type.essence().as_str())
                    || self.name.as_ref().is_some_and(is_named)
            }
        }
    }

    /// The octets that it takes in the message, encoded as it is there.
    #[must_use]
    pub fn size(&self) -> usize {
        self.raw.len()
    }

    /// The content, transfer encoding undone as far as it is well-formed.
    #[must_use]
    pub fn content(&self) -> Cow<'m, [u8]> {
        self.encoding.decode(self.raw)
    }

    /// The content as text, charset and format=flowed (RFC 3676) undone.
    #[must_use]
    pub fn text(&self) -> String {
        let content = self.content();
        let charset = self.content_type.parameter("charset");
        let text = charset
            .and_then(|name| charset::decode(name, &content))
            .unwrap_or_else(|| charset::guess(&content));
        if self.parameter_is("format", "flowed") {
            flowed::unflow(&text, self.parameter_is("delsp", "yes"))
        } else {
            text.into_owned()
        }
    }

    fn parameter_is(&self, name: &str, value: &str) -> bool {
        self.content_type
            .parameter(name)
            .is_some_and(|own| own.trim().eq_ignore_ascii_case(value))
    }
}
