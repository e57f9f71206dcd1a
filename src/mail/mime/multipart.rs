//! The parts of a multipart body, split at its delimiter lines (RFC 2046 5.1.1).

use super::ContentType;

/// Length of the longest boundary that is read. The standard allows 70.
const MAX_BOUNDARY: usize = 250;

/// The children of a multipart, one after the other.
pub(super) struct Multipart<'m> {
    body: &'m [u8],
    delimiter: Vec<u8>,
    /// Start of the next child. `None` after the last one.
    next: Option<usize>,
}

/// A delimiter line of a body.
struct Delimiter {
    /// Start of the line break before the line, which belongs to the delimiter.
    start: usize,
    /// End of the line.
    end: usize,
    closes: bool,
}

impl<'m> Multipart<'m> {
    /// `None` if there is no boundary parameter, or no delimiter in the body.
    pub(super) fn split(content_type: &ContentType, body: &'m [u8]) -> Option<Self> {
        let boundary = content_type.parameter("boundary")?.trim_end();
        if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
            return None;
        }
        let mut multipart = Multipart {
            body,
            delimiter: format!("--{boundary}").into_bytes(),
            next: None,
        };
        let first = multipart.delimiter_from(0)?;
        multipart.next = (!first.closes).then_some(first.end);
        Some(multipart)
    }

    /// Everything that `next` has not returned yet.
    pub(super) fn rest(&self) -> Option<&'m [u8]> {
        self.body.get(self.next?..)
    }

    fn delimiter_from(&self, from: usize) -> Option<Delimiter> {
        let mut start = from;
        while let Some(rest) = self.body.get(start..).filter(|rest| !rest.is_empty()) {
            let length = match rest.iter().position(|&octet| octet == b'\n') {
                Some(line_end) => line_end + 1,
                None => rest.len(),
            };
            let line = rest.get(..length).unwrap_or(rest);
            if let Some(closes) = self.is_delimiter(line) {
                return Some(Delimiter {
                    start: self.before_line_break(start, from),
                    end: start + length,
                    closes,
                });
            }
            start += length;
        }
        None
    }

    /// `Some` if the line is a delimiter, true for the closing one. Only blanks
    /// may follow it.
    fn is_delimiter(&self, line: &[u8]) -> Option<bool> {
        let rest = line.strip_prefix(self.delimiter.as_slice())?;
        match rest.trim_ascii_end() {
            b"" => Some(false),
            b"--" => Some(true),
            _ => None,
        }
    }

    fn before_line_break(&self, line_start: usize, from: usize) -> usize {
        let before = self.body.get(from..line_start).unwrap_or_default();
        let before = before.strip_suffix(b"\n").unwrap_or(before);
        let before = before.strip_suffix(b"\r").unwrap_or(before);
        from + before.len()
    }
}

impl<'m> Iterator for Multipart<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        let start = self.next.take()?;
        match self.delimiter_from(start) {
            Some(delimiter) => {
                self.next = (!delimiter.closes).then_some(delimiter.end);
                self.body.get(start..delimiter.start)
            }
            None => self.body.get(start..),
        }
    }
}
