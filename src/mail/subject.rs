//! The Subject of a request, and of its reply: `Auto: ` and the same text
//! (STS600-9-2 8.3.1). Requesters match replies by it.

use mail_builder::headers::Header as _;
use mail_builder::headers::raw::Raw;

use super::address::is_control;
use super::encoded_word;

/// Begins the Subject of each reply.
pub const REPLY_PREFIX: &str = "Auto: ";
/// Characters of a request's Subject that the reply repeats.
const MAX_CHARACTERS: usize = 2_000;
/// Octets without a blank that still fit on a line.
const MAX_UNFOLDABLE: usize = 900;

/// The Subject that a reply repeats. Each control character becomes a blank, so
/// that none can end the field or a line.
pub(super) fn clean(decoded: &str) -> String {
    decoded
        .chars()
        .take(MAX_CHARACTERS)
        .map(|c| if is_control(c) { ' ' } else { c })
        .collect()
}

/// No code of a known service is longer.
const LONGEST_CODE: usize = 64;

/// `subject` with at most `limit` characters after the service code.
pub(super) fn shortened(subject: &str, limit: usize) -> String {
    let code = subject.chars().take(LONGEST_CODE).position(|c| c == '}');
    let code = code.map_or(0, |end| end + 1);
    subject.chars().take(code.saturating_add(limit)).collect()
}

/// Writes the reply's Subject field. Cleans the text again, as that costs
/// little and makes any text safe.
pub(super) fn write_field(subject: &str, out: &mut Vec<u8>) {
    const NAME: &str = "Subject: ";
    let cleaned = clean(subject);
    out.extend_from_slice(NAME.as_bytes());
    if can_stand_raw(&cleaned) {
        // `Raw` folds before runs of blanks and keeps them. mail-builder's
        // `Text` would encode any value over 77 octets.
        Raw::new(format!("{REPLY_PREFIX}{cleaned}")).write_header(out, NAME.len());
    } else {
        // mail-builder writes encoded words only for a text that isn't ASCII or
        // is long. A short text with `=?` must be encoded too. The crate that
        // encodes here also encodes for mail-builder.
        let words = encoded_word::encode(&cleaned, NAME.len() + REPLY_PREFIX.len());
        out.extend_from_slice(REPLY_PREFIX.as_bytes());
        out.extend_from_slice(words.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether any reader of the field gets exactly this text. It must be ASCII,
/// have nothing like an encoded word, no blank at its end that a relay may
/// trim, and blanks to fold at.
fn can_stand_raw(text: &str) -> bool {
    text.is_ascii()
        && !text.contains("=?")
        && !text.ends_with(' ')
        && longest_unfoldable(text) <= MAX_UNFOLDABLE
}

/// The longest stretch from one fold point, the first blank of a run, to the next.
fn longest_unfoldable(text: &str) -> usize {
    let mut longest = 0;
    let mut start = 0;
    let mut after_blank = true;
    for (at, octet) in text.bytes().enumerate() {
        if octet == b' ' && !after_blank {
            longest = longest.max(at - start);
            start = at;
        }
        after_blank = octet == b' ';
    }
    longest.max(text.len() - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_code_is_shortened() {
        let shortened = |subject: &str| shortened(subject, 4);
        assert_eq!(shortened("{KMS:Help} order 17"), "{KMS:Help} ord");
        assert_eq!(shortened(" {KMS:Help}"), " {KMS:Help}");
        assert_eq!(
            shortened("{KMS:Help}\u{20ac}\u{20ac}345"),
            "{KMS:Help}\u{20ac}\u{20ac}34"
        );
        let endless = format!("{{KMS:{}}}", "x".repeat(100));
        assert_eq!(shortened(&endless), "{KMS");
    }
}
