//! The secrets that are sought, in every spelling that could give them away.

use std::collections::HashMap;

/// Secrets in every spelling that a formatter, an encoder or a slip could give
/// them.
#[derive(Default)]
pub struct Sought {
    /// By their first bytes, so that one pass finds all.
    pub needles: HashMap<[u8; Self::BEGINNING], Vec<(String, Vec<u8>)>>,
    pub secrets: usize,
}

impl Sought {
    const BEGINNING: usize = 8;

    /// A key. A half of it is too much already.
    pub fn add(&mut self, name: &str, key: &[u8]) {
        assert!(key.len() >= 8, "{name} is too short to differ from chance");
        self.secrets += 1;
        let halves = if key.len() < 16 {
            vec![key]
        } else {
            let (left, right) = key.split_at(key.len() / 2);
            vec![left, right]
        };
        for half in halves {
            for (form, needle) in spellings(half) {
                self.needle(&format!("{name} {form}"), needle);
            }
        }
    }

    /// A passphrase, whole.
    pub fn add_text(&mut self, name: &str, text: &str) {
        self.secrets += 1;
        for (form, needle) in spellings(text.as_bytes()) {
            self.needle(&format!("{name} {form}"), needle);
        }
    }

    fn needle(&mut self, name: &str, needle: Vec<u8>) {
        let beginning = *needle.first_chunk().expect("long enough");
        let entry = (name.to_owned(), needle);
        self.needles.entry(beginning).or_default().push(entry);
    }

    /// The secrets in `content`, as it is and with its lines joined.
    pub fn found_in(&self, content: &[u8]) -> Vec<String> {
        let text_without = |unwanted: &[&[u8]]| {
            let mut joined = Vec::with_capacity(content.len());
            let mut rest = content;
            while let Some(byte) = rest.first() {
                match unwanted.iter().find(|text| rest.starts_with(text)) {
                    Some(text) => rest = &rest[text.len()..],
                    None => {
                        joined.push(*byte);
                        rest = &rest[1..];
                    }
                }
            }
            joined
        };
        let joined = text_without(&[b"=\r\n", b"=\n", b"\r", b"\n"]);
        let mut found = self.found_exactly(content);
        found.extend(self.found_exactly(&joined));
        found.sort();
        found.dedup();
        found
    }

    fn found_exactly(&self, content: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for place in 0..content.len().saturating_sub(Self::BEGINNING - 1) {
            let rest = &content[place..];
            let Some(needles) = rest
                .first_chunk::<{ Self::BEGINNING }>()
                .and_then(|beginning| self.needles.get(beginning))
            else {
                continue;
            };
            let there = needles
                .iter()
                .filter(|(_, needle)| rest.starts_with(needle));
            found.extend(there.map(|(name, _)| name.clone()));
        }
        found
    }
}

/// Raw, hexadecimal, base64 wherever it begins in a longer text, and as `Debug`
/// shows a list of bytes.
pub fn spellings(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    const STANDARD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let url_safe = STANDARD.replace("+/", "-_");
    let decimals: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let mut spellings = vec![
        ("raw".to_owned(), bytes.to_vec()),
        ("hex".to_owned(), hex::encode(bytes).into_bytes()),
        ("HEX".to_owned(), hex::encode_upper(bytes).into_bytes()),
        ("list".to_owned(), decimals.join(", ").into_bytes()),
    ];
    for (name, alphabet) in [("base64", STANDARD), ("base64url", &url_safe)] {
        for offset in 0..3 {
            let text = base64_within(bytes, offset, alphabet.as_bytes());
            spellings.push((format!("{name}+{offset}"), text));
        }
    }
    spellings
}

/// Those characters of a base64 text that `bytes` alone decide, where `offset`
/// bytes stand before them.
fn base64_within(bytes: &[u8], offset: usize, alphabet: &[u8]) -> Vec<u8> {
    let padded = [&vec![0; offset], bytes].concat();
    let bit = |number: usize| padded[number / 8] >> (7 - number % 8) & 1;
    let characters = (offset * 8).div_ceil(6)..padded.len() * 8 / 6;
    let value = |character: usize| (0..6).fold(0, |value, at| value << 1 | bit(6 * character + at));
    characters
        .map(|character| alphabet[usize::from(value(character))])
        .collect()
}
