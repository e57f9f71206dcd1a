//! One part of a message, as a mail program shows it.

use std::borrow::Cow;

use super::super::charset;
use super::super::flowed;
use super::super::header::Headers;
use super::super::transfer_encoding::TransferEncoding;
use super::content_type::{self, ContentType, Disposition};

/// Types of files that wrap a whole message with its text: Outlook's TNEF,
/// S/MIME and PGP.
const WRAPPERS: [&str; 6] = [
    "application/ms-tnef",
    "application/vnd.ms-tnef",
    "application/pkcs7-mime",
    "application/x-pkcs7-mime",
    "application/pgp",
    "application/pgp-encrypted",
];

/// One part that isn't a multipart, or a multipart that can't be split.
#[derive(Clone, Debug)]
pub(crate) struct Part<'m> {
    /// text/plain if the part states no valid type.
    pub(crate) content_type: ContentType,
    /// `None` if the part states no disposition.
    pub(crate) disposition: Option<Disposition>,
    /// The file name that the part states.
    pub(crate) name: Option<String>,
    encoding: TransferEncoding,
    raw: &'m [u8],
    is_file: bool,
}

impl<'m> Part<'m> {
    pub(super) fn new(headers: &Headers, content_type: ContentType, raw: &'m [u8]) -> Self {
        let (disposition, name) = content_type::disposition(headers, &content_type);
        // A part in an unknown encoding has an unknown type (RFC 2045 6.4).
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

    /// Content that is not read further.
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

    /// Whether a mail program shows the part as a file: it is declared as one,
    /// has a file name, or isn't text.
    pub(crate) fn is_attachment(&self) -> bool {
        self.is_file
    }

    /// Whether Content-Disposition declares the part as a file. STS600-9-2 8.2
    /// requires this of files that a service needs.
    pub(crate) fn is_declared_attachment(&self) -> bool {
        self.disposition == Some(Disposition::Attachment)
    }

    /// Whether the part may hold the message's text in another form: HTML, or a
    /// file that wraps the whole message.
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

    /// Octets of the part in the message, still encoded.
    pub(crate) fn size(&self) -> usize {
        self.raw.len()
    }

    /// The content, with the well-formed part of its transfer encoding decoded.
    pub(crate) fn content(&self) -> Cow<'m, [u8]> {
        self.encoding.decode(self.raw)
    }

    /// The content as text, with the charset decoded and format=flowed (RFC
    /// 3676) joined.
    pub(crate) fn text(&self) -> String {
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
