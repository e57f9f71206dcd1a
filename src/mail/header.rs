//! Header fields in the order received. Knows their line structure (RFC 5322
//! 2.2), and nothing of their meaning.

use std::borrow::Cow;

use super::encoded_word;

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: Vec<u8>,
    /// All that follows the colon, with the leading blank. Every line break in
    /// it is a fold: CRLF and a blank.
    value: Vec<u8>,
}

impl Header {
    /// Makes a field from its name and the raw value after the colon. Folds may
    /// be CRLF or LF. Any other line break becomes a fold, and invalid
    /// characters of the name are replaced, so that a field remains one field
    /// when it is read again.
    pub(crate) fn new(name: &[u8], value: &[u8]) -> Self {
        Header {
            name: with_graphics(name),
            value: with_folds(value),
        }
    }

    /// The name as received.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// Whether the field has this name. Case doesn't count.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The raw value after the colon.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The octets of the field: name, colon, value and line end.
    pub(crate) fn size(&self) -> usize {
        self.name.len() + 1 + self.value.len() + 2
    }

    /// The value without its line breaks (RFC 5322 2.2.3). Octets that aren't
    /// UTF-8 are replaced.
    pub fn unfolded(&self) -> Cow<'_, str> {
        if !self.value.contains(&b'\n') {
            return String::from_utf8_lossy(&self.value);
        }
        let mut unfolded = Vec::with_capacity(self.value.len());
        for line in self.value.split(|&octet| octet == b'\n') {
            unfolded.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        }
        Cow::Owned(String::from_utf8_lossy(&unfolded).into_owned())
    }

    /// The value of an unstructured field: unfolded, without the blanks after
    /// the colon, and with its encoded words decoded (RFC 2047).
    pub fn decoded(&self) -> String {
        let unfolded = self.unfolded();
        encoded_word::decode(unfolded.trim_start_matches([' ', '\t'])).into_owned()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name);
        out.push(b':');
        out.extend_from_slice(&self.value);
        out.extend_from_slice(b"\r\n");
    }
}

/// The header fields of a message or of one of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// An empty list of fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field as a milter gets it. Returns its size in octets.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> usize {
        let header = Header::new(name, value);
        let size = header.size();
        self.0.push(header);
        size
    }

    /// All fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// The fields of that name in order. Case doesn't count.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &Header> {
        self.0.iter().filter(move |header| header.is(name))
    }

    /// The first field of that name.
    pub fn first(&self, name: &str) -> Option<&Header> {
        self.0.iter().find(|header| header.is(name))
    }

    /// The number of fields.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The octets of all fields.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(Header::size).sum()
    }

    /// Reads fields from the start of `bytes` up to the empty line, or to the
    /// first line that is no field. Also returns the start of the body.
    pub(super) fn parse(bytes: &[u8]) -> (Self, usize) {
        let mut headers = Headers::new();
        let mut at = 0;
        while let Some(field) = field_at(bytes, at) {
            let Some((name, value)) = split_field(field) else {
                break;
            };
            headers.push(name, value);
            at += field.len();
        }
        (headers, at + empty_line_at(bytes, at))
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The octets of the field that begins at `at`, folded lines and line end included.
fn field_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
    let mut end = 0;
    loop {
        let line = rest.get(end..)?;
        end += match line.iter().position(|&octet| octet == b'\n') {
            Some(line_end) => line_end + 1,
            None => line.len(),
        };
        if !matches!(rest.get(end), Some(b' ' | b'\t')) {
            return rest.get(..end);
        }
    }
}

/// Name and value of a field. The name is printable ASCII. Blanks before the
/// colon are accepted (RFC 5322 4.5).
fn split_field(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = field.iter().position(|&octet| octet == b':')?;
    let (name, value) = field.split_at_checked(colon)?;
    let name = name.trim_ascii_end();
    let well_formed = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    well_formed.then(|| (name, value.get(1..).unwrap_or_default()))
}

/// The length of the empty line at `at`, or 0 if there is none.
fn empty_line_at(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..) {
        Some([b'\r', b'\n', ..]) => 2,
        Some([b'\n', ..]) => 1,
        _ => 0,
    }
}

/// A name of printable ASCII without a colon (RFC 5322 2.2), not empty.
fn with_graphics(name: &[u8]) -> Vec<u8> {
    let name = name.trim_ascii_end();
    if name.is_empty() {
        return b"?".to_vec();
    }
    name.iter()
        .map(|&octet| match octet {
            b':' => b'?',
            octet if octet.is_ascii_graphic() => octet,
            _ => b'?',
        })
        .collect()
}

/// The value with each line break turned into a fold. All carriage returns
/// before a line break belong to it.
fn with_folds(value: &[u8]) -> Vec<u8> {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    let mut folded = Vec::with_capacity(value.len());
    for (number, line) in value.split(|&octet| octet == b'\n').enumerate() {
        if number > 0 {
            folded.extend_from_slice(b"\r\n");
            if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                folded.push(b' ');
            }
        }
        folded.extend_from_slice(without_returns(line));
    }
    folded
}

fn without_returns(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&octet| octet != b'\r');
    line.get(..end.map_or(0, |last| last + 1))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(raw: &[u8]) -> Vec<u8> {
        Header::new(b"X", raw).value().to_vec()
    }

    #[test]
    fn folds_of_a_milter_and_of_a_file_are_one() {
        assert_eq!(value(b" a\n\tb"), b" a\r\n\tb");
        assert_eq!(value(b" a\r\n\tb\r\n"), b" a\r\n\tb");
    }

    #[test]
    fn no_value_ends_its_field() {
        assert_eq!(value(b" a\nBcc: b"), b" a\r\n Bcc: b");
        assert_eq!(value(b" a\n\n"), b" a\r\n ");
    }

    #[test]
    fn unfolding_deletes_line_breaks_only() {
        assert_eq!(Header::new(b"X", b"  a \r\n\t b").unfolded(), "  a \t b");
    }

    #[test]
    fn decoding_takes_off_the_blanks_behind_the_colon() {
        let header = Header::new(
            b"Subject",
            b"\r\n  =?utf-8?q?=20=C3=A9?=\r\n =?utf-8?q?!?= ",
        );
        assert_eq!(header.decoded(), " é! ");
    }

    #[test]
    fn names_compare_without_case_and_keep_their_order() {
        let mut headers = Headers::new();
        headers.push(b"To", b" a");
        headers.push(b"X", b" b");
        headers.push(b"TO", b" c");
        let values: Vec<&[u8]> = headers.get_all("to").map(Header::value).collect();
        assert_eq!(values, [b" a", b" c"]);
        assert_eq!(headers.first("tO").unwrap().name(), "To");
    }
}
