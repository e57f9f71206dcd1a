//! Content-Transfer-Encoding (RFC 2045 6): reads the field and decodes the content.

use std::borrow::Cow;

use encodify::{base64, qp};

use super::base64_symbols::base64_symbols;
use super::header::Headers;
use super::lexer::without_comments;

/// The encoding of a part's octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferEncoding {
    /// Not encoded: 7bit, 8bit or binary.
    Identity,
    /// RFC 2045 6.7.
    QuotedPrintable,
    /// RFC 2045 6.8.
    Base64,
}

/// Encodings of other systems. The gateway decodes none of them, and none that
/// begins with `x-`.
const FOREIGN: [&str; 7] = [
    "uuencode",
    "uue",
    "yenc",
    "binhex",
    "macbinhex40",
    "base85",
    "gzip",
];

impl TransferEncoding {
    /// `None` if the field names an encoding that the gateway does not decode.
    /// A value that is no encoding, such as `utf-8`, is ignored.
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let Some(field) = headers.first("Content-Transfer-Encoding") else {
            return Some(TransferEncoding::Identity);
        };
        let value = field.unfolded().to_ascii_lowercase();
        // Programs add comments, quotes, semicolons and parameters.
        let value = without_comments(&value);
        let name = value
            .split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'))
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match letters.as_str() {
            "quotedprintable" => Some(TransferEncoding::QuotedPrintable),
            "base64" => Some(TransferEncoding::Base64),
            letters if name.starts_with("x-") || FOREIGN.contains(&letters) => None,
            _ => Some(TransferEncoding::Identity),
        }
    }

    /// Decodes the octets as far as they are well-formed.
    pub(super) fn decode(self, raw: &[u8]) -> Cow<'_, [u8]> {
        match self {
            TransferEncoding::Identity => Cow::Borrowed(raw),
            TransferEncoding::QuotedPrintable => qp::BODY.decode(raw).unwrap_or(Cow::Borrowed(raw)),
            TransferEncoding::Base64 => Cow::Owned(decode_base64(raw)),
        }
    }
}

fn decode_base64(raw: &[u8]) -> Vec<u8> {
    let mut symbols = base64_symbols(raw);
    if symbols.len() % 4 == 1 {
        symbols.pop();
    }
    base64::LENIENT.decode(symbols).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<TransferEncoding> {
        let mut headers = Headers::new();
        headers.push(b"Content-Transfer-Encoding", value.as_bytes());
        TransferEncoding::of(&headers)
    }

    #[test]
    fn an_encoding_is_known_whatever_stands_around_it() {
        for value in [
            " base64",
            " Base64;",
            " \"base64\"",
            " 'base64'",
            " base64 (of mine)",
            " (of mine) base64",
            " base64\"",
            " base64\" (of mine)",
            " base64 charset=utf-8",
            " ; base64",
            " base64; charset=utf-8",
            " base-64",
        ] {
            assert_eq!(of(value), Some(TransferEncoding::Base64), "{value}");
        }
        for value in [
            " quoted-printable",
            " Quoted-Printable\"",
            " \"quoted-printable\";",
            " quoted_printable",
            " quoted-printable, 8bit",
        ] {
            let encoding = of(value);
            assert_eq!(encoding, Some(TransferEncoding::QuotedPrintable), "{value}");
        }
    }

    #[test]
    fn what_is_no_encoding_leaves_the_octets() {
        for value in [
            "",
            " ",
            " 7bit",
            " 8bit\"",
            " 8-bit",
            " binary;",
            " utf-8",
            " us-ascii",
            " none",
            " text/plain",
            " ()",
            " quoted",
        ] {
            assert_eq!(of(value), Some(TransferEncoding::Identity), "{value}");
        }
        assert_eq!(
            TransferEncoding::of(&Headers::new()),
            Some(TransferEncoding::Identity)
        );
    }

    #[test]
    fn an_encoding_of_another_system_is_not_undone() {
        for value in [
            " x-uuencode",
            " uuencode;",
            " X-yEnc",
            " mac-binhex40",
            " x-token",
        ] {
            assert_eq!(of(value), None, "{value}");
        }
    }
}
