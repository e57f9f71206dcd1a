//! Encoded words (RFC 2047): non-ASCII text in header fields. Knows
//! unstructured text only, not in which field it stands.

use std::borrow::Cow;

use encodify::Fold;
use encodify::rfc2047::{B, EncodedWord, Q_TEXT};

use super::charset;

/// Decodes the encoded words of an unfolded unstructured text. All else stays
/// as it is: runs of blanks, words in an unknown charset, words that don't
/// stand alone between blanks (RFC 2047 6.1).
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains("=?") {
        return Cow::Borrowed(text);
    }
    let mut decoder = Decoder::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (blanks, after_blanks) = split_where(rest, |c| !is_blank(c));
        if let Some(word) = Word::at(after_blanks) {
            decoder.encoded(blanks, &word);
            rest = after_blanks.get(word.length..).unwrap_or_default();
        } else {
            let (token, after_token) = split_where(after_blanks, is_blank);
            decoder.literal(blanks, token);
            rest = after_token;
        }
    }
    Cow::Owned(decoder.finish())
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

/// An encoded word that can be decoded.
struct Word {
    charset: String,
    octets: Vec<u8>,
    length: usize,
}

impl Word {
    /// The word that `text` begins with and that a blank or the end follows.
    /// Blanks inside it are let by: mail programs write them.
    fn at(text: &str) -> Option<Self> {
        let (word, length) = EncodedWord::parse(text.as_bytes())?;
        let stands_alone = text.get(length..)?.chars().next().is_none_or(is_blank);
        if !stands_alone || word.payload.contains(&b'?') {
            return None;
        }
        let charset = String::from_utf8_lossy(word.charset).to_ascii_lowercase();
        charset::decode(&charset, b"")?;
        Some(Word {
            charset,
            octets: word.decode().ok()?,
            length,
        })
    }
}

/// Collects text. The octets of adjacent words in one charset are joined
/// before they are decoded, as some programs split characters.
#[derive(Default)]
struct Decoder {
    text: String,
    /// Charset and octets of the words since the last literal.
    pending: Option<(String, Vec<u8>)>,
}

impl Decoder {
    fn encoded(&mut self, blanks: &str, word: &Word) {
        if let Some((charset, octets)) = &mut self.pending
            && *charset == word.charset
        {
            octets.extend_from_slice(&word.octets);
            return;
        }
        if self.pending.is_none() {
            self.text.push_str(blanks);
        }
        self.flush();
        self.pending = Some((word.charset.clone(), word.octets.clone()));
    }

    fn literal(&mut self, blanks: &str, token: &str) {
        self.flush();
        self.text.push_str(blanks);
        self.text.push_str(token);
    }

    fn flush(&mut self) {
        if let Some((charset, octets)) = self.pending.take() {
            let text = charset::decode(&charset, &octets);
            self.text.push_str(text.as_deref().unwrap_or_default());
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
            "a=?utf-8?q?b?=",
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
    }

    #[test]
    fn an_unknown_charset_stays_as_it_stands() {
        let text = "a =?x-unknown?q?b?= c";
        assert_eq!(decode(text), text);
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
