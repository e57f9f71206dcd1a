//! Encoded words (RFC 2047): non-ASCII text in header fields. Knows
//! unstructured text only, not in which field it stands.

use std::borrow::Cow;

use encodify::rfc2047::{B, Q_TEXT};
use encodify::{Fold, base64};

use super::base64_symbols::base64_symbols;
use super::charset;

/// Decodes the encoded words of an unfolded unstructured text, as Python's
/// `email` and other common readers do: also words that are glued to another
/// word or to text, which RFC 2047 6.1 does not allow. Blanks between two words
/// go, and all else stays as it is.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains("=?") {
        return Cow::Borrowed(text);
    }
    let mut decoder = Decoder::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (blanks, after_blanks) = split_where(rest, |c| !is_blank(c));
        rest = if let Some((word, after_word)) = Word::at(after_blanks) {
            decoder.encoded(blanks, word);
            after_word
        } else {
            let (literal, after_literal) = split_literal(after_blanks);
            decoder.literal(blanks, literal);
            after_literal
        };
    }
    Cow::Owned(decoder.finish())
}

/// Parts a text that begins with no word at the next blank, or before it where a
/// word is glued to the text. Such a word has no blank inside.
fn split_literal(text: &str) -> (&str, &str) {
    let begins_word = |at| text.get(at..).is_some_and(|rest| rest.starts_with("=?"));
    let end = text
        .char_indices()
        .find(|&(at, c)| is_blank(c) || begins_word(at))
        .map_or(text.len(), |(at, _)| at);
    let (literal, rest) = text.split_at(end);
    if !literal.is_empty() && Word::has_no_blank_at(rest) {
        return (literal, rest);
    }
    let (token, _) = split_where(rest, is_blank);
    text.split_at(end + token.len())
}

/// `text` as encoded words in UTF-8, folded, for a line that has `column`
/// octets already.
pub(super) fn encode(text: &str, column: usize) -> String {
    let shorter = if Q_TEXT.payload_len(text) <= B.payload_len(text) {
        Q_TEXT
    } else {
        B
    };
    let mut words = String::new();
    let mut column = column;
    shorter.encode_words("utf-8", text, &mut column, Fold::HEADER, &mut words);
    words
}

/// An encoded word, its transfer encoding undone.
struct Word {
    charset: String,
    octets: Vec<u8>,
}

impl Word {
    /// The word that `text` begins with, and what follows it. Blanks inside it
    /// are accepted: mail programs write them.
    fn at(text: &str) -> Option<(Self, &str)> {
        let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
        let (encoding, rest) = rest.split_once('?')?;
        let (payload, rest) = rest.split_once('?')?;
        let after_word = rest.strip_prefix('=')?;
        let octets = match encoding {
            "q" | "Q" => decode_q(payload.as_bytes()),
            "b" | "B" => decode_b(payload.as_bytes())?,
            _ => return None,
        };
        // RFC 2231 5 lets a language follow.
        let charset = charset.split('*').next().unwrap_or_default();
        let charset = match charset::is_known(charset) {
            true => charset.to_ascii_lowercase(),
            // Readers show the ASCII in it, and UTF-8.
            false => "utf-8".to_owned(),
        };
        Some((Word { charset, octets }, after_word))
    }

    /// Whether `text` begins with a word without a blank inside.
    fn has_no_blank_at(text: &str) -> bool {
        Self::at(text).is_some_and(|(_, after_word)| {
            let word = text.strip_suffix(after_word).unwrap_or(text);
            !word.contains(is_blank)
        })
    }

    fn text(&self) -> Cow<'_, str> {
        charset::decode(&self.charset, &self.octets).unwrap_or_default()
    }

    /// Whether no character is cut off.
    fn is_whole(&self) -> bool {
        !self.text().contains(char::REPLACEMENT_CHARACTER)
    }
}

/// Undoes the Q encoding (RFC 2047 4.2). A `=` that begins no octet stays.
fn decode_q(payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(payload.len());
    let mut rest = payload;
    while let [first, after_first @ ..] = rest {
        rest = after_first;
        match (first, hexadecimal(after_first)) {
            (b'=', Some((octet, after_digits))) => {
                octets.push(octet);
                rest = after_digits;
            }
            (b'_', _) => octets.push(b' '),
            _ => octets.push(*first),
        }
    }
    octets
}

/// The octet that two digits at the start stand for, and what follows them.
fn hexadecimal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let mut octet = [0];
    hex::decode_to_slice(digits, &mut octet).ok()?;
    Some((octet[0], rest))
}

/// Undoes base64. Other characters are skipped, and missing padding does no
/// harm. One symbol too many can't be decoded: readers show the payload then.
/// None where no symbol is there.
fn decode_b(payload: &[u8]) -> Option<Vec<u8>> {
    let symbols = base64_symbols(payload);
    match symbols.len() {
        0 if !payload.is_empty() => None,
        length if length % 4 == 1 => Some(payload.to_vec()),
        _ => base64::LENIENT.decode(symbols).ok(),
    }
}

/// Collects text. A word that can't be decoded by itself is joined with the next
/// one in its charset, as some programs split characters.
#[derive(Default)]
struct Decoder {
    text: String,
    /// The last word, with those before it that it was joined with.
    pending: Option<Word>,
}

impl Decoder {
    fn encoded(&mut self, blanks: &str, word: Word) {
        match &mut self.pending {
            Some(pending) if pending.charset == word.charset && !pending.is_whole() => {
                pending.octets.extend(word.octets);
                return;
            }
            Some(_) => self.flush(),
            None => self.text.push_str(blanks),
        }
        self.pending = Some(word);
    }

    fn literal(&mut self, blanks: &str, literal: &str) {
        self.flush();
        self.text.push_str(blanks);
        self.text.push_str(literal);
    }

    fn flush(&mut self) {
        if let Some(word) = self.pending.take() {
            self.text.push_str(&word.text());
        }
    }

    fn finish(mut self) -> String {
        self.flush();
        self.text
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn split_where(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_without_encoded_words_stays() {
        for text in [
            "",
            "  a   b  ",
            "a =? b",
            "=?utf-8?q?a",
            "=?x?=",
            "=?x?=?utf-8?q?a?=",
            "=?utf-8?x?a?=",
            "=?utf-8?q?a?b?=",
        ] {
            assert_eq!(decode(text), text);
        }
    }

    #[test]
    fn words_are_decoded() {
        assert_eq!(decode("=?utf-8?Q?caf=C3=A9_1?="), "café 1");
        assert_eq!(decode("=?UTF-8?b?Y2Fmw6k=?="), "café");
        assert_eq!(decode("=?iso-8859-1*fr?q?caf=E9?="), "café");
        assert_eq!(decode("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?="), "日本");
        assert_eq!(decode("=?windows-1251?Q?=EF=F0?="), "пр");
    }

    #[test]
    fn blanks_between_words_go_and_others_stay() {
        assert_eq!(decode("=?utf-8?q?a?=   =?utf-8?q?b?="), "ab");
        assert_eq!(decode("x  =?utf-8?q?a?=  y "), "x  a  y ");
        assert_eq!(decode("=?utf-8?q?a?= =?iso-8859-1?q?=E9?= c"), "aé c");
    }

    #[test]
    fn a_character_split_between_words_is_joined() {
        assert_eq!(decode("=?utf-8?q?caf=C3?= =?UTF-8?q?=A9?="), "café");
        assert_eq!(decode("=?gb2312?q?=D6?= =?gb2312?q?=D0?="), "中");
    }

    #[test]
    fn words_with_escape_sequences_are_decoded_one_by_one() {
        let word = "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=";
        assert_eq!(decode(&format!("{word} {word}")), "日本日本");
    }

    #[test]
    fn words_may_be_glued_to_words_and_to_text() {
        assert_eq!(
            decode("=?utf-8?Q?=7BKMS:?==?utf-8?Q?Help=7D?="),
            "{KMS:Help}"
        );
        assert_eq!(decode("=?utf-8?q?=C3?==?UTF-8?B?qQ==?="), "é");
        assert_eq!(decode("de =?utf-8?q?_?==?utf-8?q?b?= 17"), "de  b 17");
        assert_eq!(decode("a=?utf-8?q?b?=c  =?utf-8?q?d?="), "abc  d");
        assert_eq!(decode("(=?utf-8?q?b?=), =?a =?utf-8?q?b?=="), "(b), =?a b=");
    }

    #[test]
    fn of_an_unknown_charset_utf_8_is_read() {
        assert_eq!(decode("a =?x-unknown?q?b?= c"), "a b c");
        assert_eq!(decode("=?unknown-8bit?q?=C3?= =?x?q?=A9?="), "é");
        assert_eq!(decode("=?unknown-8bit?q?caf=E9?="), "caf\u{fffd}");
        assert_eq!(decode("=?iso-2022-kr?Q?=7BKMS:Help=7D?="), "{KMS:Help}");
    }

    #[test]
    fn what_is_malformed_is_read_as_far_as_it_goes() {
        for (text, expected) in [
            ("=?utf-8?q?a=4?=", "a=4"),
            ("=?utf-8?q?a=zz=?=", "a=zz="),
            ("=?utf-8?q??=", ""),
            ("=?utf-8?b??=", ""),
            ("=?utf-8?b?YWJj!ZA?=", "abcd"),
            ("=?utf-8?b?YWJj ZGVm?=", "abcdef"),
            ("=?utf-8?b?YWJjZ?=", "YWJjZ"),
            ("=?utf-8?b?*?=", "=?utf-8?b?*?="),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }

    #[test]
    fn hostile_texts_are_read_in_one_go() {
        for piece in [
            "=?",
            "=?a?q?",
            "=?a?q?x",
            "=?a?q?x ",
            "=?a?b??",
            "a=?",
            "=?a?q?b?=",
            "a=?a?q?b?=",
        ] {
            // Quadratic, this would go on for minutes.
            decode(&piece.repeat(50_000));
        }
    }

    #[test]
    fn a_word_with_blanks_inside_is_decoded() {
        assert_eq!(decode("=?utf-8?q?a b?= c"), "a b c");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC*|(=\\?|utf-8|\\?q\\?|\\?B\\?|=C3|\\?=| |\t|a){0,40}") {
            decode(&text);
        }

        #[test]
        fn what_is_encoded_is_decoded(text in "\\PC{1,300}", column in 0usize..40) {
            let words = encode(&text, column);
            let unfolded = words.replace("\r\n", "");
            prop_assert_eq!(decode(&unfolded), text);
            prop_assert!(words.is_ascii());
            for (number, line) in words.split("\r\n").enumerate() {
                prop_assert!(line.len() <= 76 || number == 0);
            }
        }
    }
}
