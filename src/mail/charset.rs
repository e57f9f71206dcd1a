//! Decodes octets of a named charset to text.

use std::borrow::Cow;

use mail_parser::decoders::charsets::DecoderFnc;
use mail_parser::decoders::charsets::map::charset_decoder;

use super::seven_bit;

/// Other names of charsets, with the name by which mail-parser or `seven_bit`
/// know the same charset or a superset of it.
#[rustfmt::skip]
const OTHER_NAMES: &[(&str, &str)] = &[
    ("latin-1", "iso-8859-1"),
    ("latin9", "iso-8859-15"),
    ("macroman", "macintosh"),
    ("mac-roman", "macintosh"),
    ("tis620", "tis-620"),
    ("cp932", "shift_jis"),
    ("shiftjis", "shift_jis"),
    ("s-jis", "shift_jis"),
    ("eucjp", "euc-jp"),
    ("ujis", "euc-jp"),
    ("iso2022-jp", "iso-2022-jp"),
    ("iso2022jp", "iso-2022-jp"),
    ("iso-2022-jp-1", "iso-2022-jp"),
    ("iso-2022-jp-2", "iso-2022-jp"),
    ("iso-2022-jp-3", "iso-2022-jp"),
    ("iso-2022-jp-ms", "iso-2022-jp"),
    ("cp949", "euc-kr"),
    ("ms949", "euc-kr"),
    ("uhc", "euc-kr"),
    ("euckr", "euc-kr"),
    ("iso2022-kr", "iso-2022-kr"),
    ("iso2022kr", "iso-2022-kr"),
    ("csiso2022kr", "iso-2022-kr"),
    ("euc-cn", "gbk"),
    ("euccn", "gbk"),
    ("gb2312-80", "gbk"),
    ("gb18030-2000", "gb18030"),
    ("hz", "hz-gb-2312"),
    ("hz-gb", "hz-gb-2312"),
    ("cp950", "big5"),
    ("big5hkscs", "big5"),
    ("utf7", "utf-7"),
    ("utf16", "utf-16"),
    ("utf-16-le", "utf-16le"),
    ("utf-16-be", "utf-16be"),
];

/// Decodes text in the charset of that name. `None` if the name is unknown. A
/// name that can't be right is ignored.
pub(super) fn decode<'a>(name: &str, octets: &'a [u8]) -> Option<Cow<'a, str>> {
    let name = usual_name(name);
    if is_utf8(name) {
        return Some(String::from_utf8_lossy(octets));
    }
    if is_ascii(name) {
        return Some(guess(octets));
    }
    if let Some(text) = seven_bit::decode(name, octets) {
        return Some(Cow::Owned(text));
    }
    let decoder = charset_decoder(name.as_bytes())?;
    let text = decoder(octets);
    if destroys_ascii(decoder) && (is_plain(octets) || says_nothing(&text)) {
        return Some(guess(octets));
    }
    Some(Cow::Owned(text))
}

/// Decodes text in an unknown charset: as UTF-8 if it is valid, else as Western
/// Windows, which keeps its no-break spaces.
pub(super) fn guess(octets: &[u8]) -> Cow<'_, str> {
    match (std::str::from_utf8(octets), charset_decoder(b"cp1252")) {
        (Ok(text), _) => Cow::Borrowed(text),
        (Err(_), Some(decoder)) => Cow::Owned(decoder(octets)),
        (Err(_), None) => String::from_utf8_lossy(octets),
    }
}

/// Whether the charset of that name is known.
pub(super) fn is_known(name: &str) -> bool {
    let name = usual_name(name);
    is_utf8(name) || is_ascii(name) || charset_decoder(name.as_bytes()).is_some()
}

/// The usual name of a charset.
fn usual_name(name: &str) -> &str {
    let name = name.trim();
    let mut others = OTHER_NAMES.iter();
    let other = others.find(|(other, _)| other.eq_ignore_ascii_case(name));
    other.map_or(name, |(_, usual)| usual)
}

/// Whether the decoder changes ASCII text. UTF-16 gives other text, and
/// charsets that mail-parser knows only by name give none.
fn destroys_ascii(decoder: DecoderFnc) -> bool {
    const SAMPLE: &str = "STS.";
    decoder(SAMPLE.as_bytes()) != SAMPLE
}

/// Whether the octets are ASCII or UTF-8, without the zeros of UTF-16.
fn is_plain(octets: &[u8]) -> bool {
    !octets.contains(&0) && std::str::from_utf8(octets).is_ok()
}

/// Whether the text is empty or holds only replacement characters.
fn says_nothing(text: &str) -> bool {
    text.chars().all(|c| c == char::REPLACEMENT_CHARACTER)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Labels that mail programs write, right or wrong.
    const LABELS: [&str; 23] = [
        "us-ascii",
        "utf-8",
        "iso-8859-1",
        "windows-1252",
        "koi8-r",
        "gb2312",
        "gb18030",
        "big5",
        "shift_jis",
        "euc-jp",
        "iso-2022-jp",
        "iso-2022-kr",
        "iso-2022-cn",
        "hz-gb-2312",
        "x-user-defined",
        "replacement",
        "utf-7",
        "utf-16",
        "utf-16le",
        "UTF-16BE",
        "ucs-2",
        "iso-10646-ucs-2",
        "unicode",
    ];

    #[test]
    fn no_label_destroys_ascii() {
        for text in [
            "-----STS:VKLOAD.REQ.1 BEGINS-----\r\n",
            "STS",
            "ab",
            "x\t~~\n",
        ] {
            for label in LABELS {
                let decoded = decode(label, text.as_bytes());
                assert_eq!(decoded.as_deref(), Some(text), "{label}");
            }
        }
    }

    #[test]
    fn a_label_that_is_right_counts() {
        for (label, octets, text) in [
            ("utf-16be", &b"\0S\0T\0S"[..], "STS"),
            ("utf-16le", b"S\0T\0S\0", "STS"),
            ("utf-16", b"\xfe\xff\0S\x65\xe5", "S日"),
            ("utf-16be", b"\x65\xe5\x67\x2c", "日本"),
            ("iso-2022-jp", b"\x1b$BF|K\\\x1b(B", "日本"),
            ("iso-2022-jp-2", b"\x1b$BF|K\\\x1b(B", "日本"),
            ("utf-7", b"a+AOk-b", "aéb"),
            ("latin-1", b"\xe9", "é"),
            ("CP932", b"\x93\xfa\x96\x7b", "日本"),
            ("iso-2022-kr", b"\x1b$)C\x0eGQ1[\x0f", "한글"),
        ] {
            assert_eq!(decode(label, octets).as_deref(), Some(text), "{label}");
        }
    }

    #[test]
    fn other_names_are_of_charsets_that_are_known() {
        for (other, usual) in OTHER_NAMES {
            assert!(charset_decoder(usual.as_bytes()).is_some(), "{other}");
            assert_eq!(usual_name(usual), *usual, "{other}");
        }
    }

    #[test]
    fn a_label_that_gives_nothing_is_as_if_missing() {
        for (label, octets, text) in [
            ("hz-gb-2312", &b"caf\xe9 STS"[..], "café STS"),
            ("iso-2022-kr", "é STS".as_bytes(), "é STS"),
            ("utf-16", "é STS".as_bytes(), "é STS"),
            ("shift_jis", b"", ""),
        ] {
            assert_eq!(decode(label, octets).as_deref(), Some(text), "{label}");
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_said_so() {
        for name in ["x-none", "unknown-8bit", "cp037", "utf-32", ""] {
            assert!(!is_known(name) && decode(name, b"a").is_none(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            for label in LABELS {
                assert!(is_known(label) && decode(label, &octets).is_some());
            }
        }

        #[test]
        fn ascii_stays_whatever_its_label(text in "[ -}\r\n\t]{0,80}") {
            for label in LABELS.iter().filter(|label| **label != "utf-7") {
                let decoded = decode(label, text.as_bytes());
                prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
            }
        }
    }
}
