//! Octets of a named charset to text.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// Text in the charset of that name; None where the name isn't known.
pub(super) fn decode<'a>(name: &str, octets: &'a [u8]) -> Option<Cow<'a, str>> {
    let name = name.trim();
    if is_utf8(name) {
        return Some(String::from_utf8_lossy(octets));
    }
    if is_ascii(name) {
        return Some(guess(octets));
    }
    charset_decoder(name.as_bytes()).map(|decoder| Cow::Owned(decoder(octets)))
}

/// Text in a charset that nobody stated, or that nobody knows: UTF-8 if it can
/// be, else the charset of Western Windows, whose no-break space survives so.
pub(super) fn guess(octets: &[u8]) -> Cow<'_, str> {
    match (std::str::from_utf8(octets), charset_decoder(b"cp1252")) {
        (Ok(text), _) => Cow::Borrowed(text),
        (Err(_), Some(decoder)) => Cow::Owned(decoder(octets)),
        (Err(_), None) => String::from_utf8_lossy(octets),
    }
}

fn is_utf8(name: &str) -> bool {
    ["utf-8", "utf8", "unicode-1-1-utf-8", "x-utf-8"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn is_ascii(name: &str) -> bool {
    ["us-ascii", "ascii", "ansi_x3.4-1968"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}
