//! Charsets that write East Asian text in seven bits. Marks shift to that text
//! and back. mail-parser knows their names but can't decode them.

use mail_parser::decoders::charsets::map::charset_decoder;

/// A charset that writes the octets of another charset without their high bits.
struct SevenBit {
    name: &'static str,
    /// Mark that shifts to two octets a character.
    open: &'static [u8],
    /// Mark that shifts back to ASCII.
    close: &'static [u8],
    /// Other sequences, and the ASCII that they stand for.
    sequences: &'static [(&'static [u8], &'static [u8])],
    /// The charset of the octets once they have their high bits.
    raised: &'static str,
}

const CHARSETS: [SevenBit; 2] = [
    // RFC 1557
    SevenBit {
        name: "iso-2022-kr",
        open: b"\x0e",
        close: b"\x0f",
        sequences: &[(b"\x1b$)C", b"")],
        raised: "euc-kr",
    },
    // RFC 1843
    SevenBit {
        name: "hz-gb-2312",
        open: b"~{",
        close: b"~}",
        sequences: &[(b"~~", b"~"), (b"~\n", b""), (b"~\r\n", b"")],
        raised: "gbk",
    },
];

/// Decodes text in the charset of that name. `None` if it is another charset,
/// or if no octet is shifted.
pub(super) fn decode(name: &str, octets: &[u8]) -> Option<String> {
    let charset = CHARSETS
        .iter()
        .find(|own| own.name.eq_ignore_ascii_case(name))?;
    let is_shifted = octets
        .windows(charset.open.len())
        .any(|mark| mark == charset.open);
    if !is_shifted || !octets.is_ascii() {
        return None;
    }
    let decoder = charset_decoder(charset.raised.as_bytes())?;
    Some(decoder(&charset.raise(octets)))
}

impl SevenBit {
    /// Sets the high bits of the shifted octets and drops the marks.
    fn raise(&self, octets: &[u8]) -> Vec<u8> {
        let mut raised = Vec::with_capacity(octets.len());
        let mut rest = octets;
        let mut is_open = false;
        while let [first, after_first @ ..] = rest {
            rest = match (is_open, rest) {
                (true, [lead @ b'!'..=b'}', trail @ b'!'..=b'~', after @ ..]) => {
                    raised.extend([lead | 0x80, trail | 0x80]);
                    after
                }
                (true, _) if rest.starts_with(self.close) => {
                    is_open = false;
                    rest.get(self.close.len()..).unwrap_or_default()
                }
                (false, _) if rest.starts_with(self.open) => {
                    is_open = true;
                    rest.get(self.open.len()..).unwrap_or_default()
                }
                (false, _) if let Some((length, ascii)) = self.sequence(rest) => {
                    raised.extend_from_slice(ascii);
                    rest.get(length..).unwrap_or_default()
                }
                _ => {
                    raised.push(*first);
                    after_first
                }
            };
        }
        raised
    }

    /// The length of the sequence at the start of the octets, and its ASCII.
    fn sequence(&self, octets: &[u8]) -> Option<(usize, &'static [u8])> {
        let (sequence, ascii) = self
            .sequences
            .iter()
            .find(|(sequence, _)| octets.starts_with(sequence))?;
        Some((sequence.len(), ascii))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_shifted_is_decoded() {
        for (name, octets, text) in [
            ("ISO-2022-KR", &b"\x1b$)C{\x0eGQ1[\x0f} a"[..], "{한글} a"),
            ("hz-gb-2312", b"a~~ ~{<:Ky2;~}~\n b", "a~ 己所不 b"),
            ("HZ-GB-2312", b"~{VPND", "中文"),
        ] {
            assert_eq!(decode(name, octets).as_deref(), Some(text), "{name}");
        }
    }

    #[test]
    fn without_a_shift_it_is_not_read() {
        for (name, octets) in [
            ("iso-2022-kr", &b"STS ~~"[..]),
            ("hz-gb-2312", b"STS ~~"),
            ("hz-gb-2312", b"\xe9 ~{VPND~}"),
            ("utf-8", b"~{VPND~}"),
        ] {
            assert_eq!(decode(name, octets), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets in "[~{}\\x0e\\x0f\\x1b$)C!-~\n\r ]{0,40}") {
            for name in ["iso-2022-kr", "hz-gb-2312"] {
                decode(name, octets.as_bytes());
            }
        }
    }
}
