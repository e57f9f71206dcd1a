//! Reads one message, or the messages of an mbox (RFC 4155), piece by piece. Holds
//! no more of a message than the policy looks at.

use std::io::{self, BufRead, Read};

/// The longest piece of a line that is read at once, in bytes.
const CHUNK: u64 = 64 * 1024;

/// The beginning of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The bytes that are kept.
    pub(super) bytes: Vec<u8>,
    /// The size of the whole message, in bytes.
    pub(super) size: u64,
}

pub(super) struct Mailbox<R> {
    reader: R,
    keep: usize,
    chunk: Vec<u8>,
    is_mbox: bool,
}

/// The reader's place in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    LineAfterBlank,
    Line,
    WithinLine,
}

impl<R: BufRead> Mailbox<R> {
    /// Begins to read. Keeps at most `keep` bytes of each message. A file that begins
    /// with `From ` is an mbox.
    pub(super) fn new(reader: R, keep: usize) -> io::Result<Self> {
        let mut mailbox = Self {
            reader,
            keep,
            chunk: Vec::new(),
            is_mbox: false,
        };
        mailbox.read_chunk()?;
        mailbox.is_mbox = mailbox.chunk.starts_with(b"From ");
        Ok(mailbox)
    }

    /// Whether the file may hold any number of messages.
    pub(super) fn is_mbox(&self) -> bool {
        self.is_mbox
    }

    /// Reads the next message. An empty file is one empty message.
    pub(super) fn next_message(&mut self) -> io::Result<Option<Piece>> {
        if self.is_mbox {
            if self.chunk.is_empty() {
                return Ok(None);
            }
            self.skip_line()?;
        }
        let mut piece = Piece {
            bytes: Vec::new(),
            size: 0,
        };
        let mut at = At::Line;
        while !self.chunk.is_empty() && !self.is_separator(at) {
            piece.take(unquoted(&self.chunk, self.is_mbox, at), self.keep);
            at = match self.chunk.as_slice() {
                b"\n" | b"\r\n" if at != At::WithinLine => At::LineAfterBlank,
                line if line.ends_with(b"\n") => At::Line,
                _ => At::WithinLine,
            };
            self.read_chunk()?;
        }
        Ok(Some(piece))
    }

    fn is_separator(&self, at: At) -> bool {
        self.is_mbox && at == At::LineAfterBlank && self.chunk.starts_with(b"From ")
    }

    /// Reads to the end of the line, but at most [`CHUNK`] bytes.
    fn read_chunk(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.reader
            .by_ref()
            .take(CHUNK)
            .read_until(b'\n', &mut self.chunk)?;
        Ok(())
    }

    fn skip_line(&mut self) -> io::Result<()> {
        while !self.chunk.is_empty() && !self.chunk.ends_with(b"\n") {
            self.read_chunk()?;
        }
        self.read_chunk()
    }
}

impl Piece {
    fn take(&mut self, chunk: &[u8], keep: usize) {
        self.size = self.size.saturating_add(chunk.len() as u64);
        let room = keep.saturating_sub(self.bytes.len()).min(chunk.len());
        self.bytes.extend(chunk.iter().take(room));
    }
}

/// Removes the `>` by which an mbox quotes a line that looks like a separator.
fn unquoted(chunk: &[u8], is_mbox: bool, at: At) -> &[u8] {
    let quote = chunk.iter().take_while(|&&byte| byte == b'>').count();
    let is_quoted = is_mbox
        && at != At::WithinLine
        && quote > 0
        && chunk
            .get(quote..)
            .is_some_and(|line| line.starts_with(b"From "));
    chunk.get(usize::from(is_quoted)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &[u8], keep: usize) -> (bool, Vec<(String, u64)>) {
        let mut mailbox = Mailbox::new(text, keep).unwrap();
        let mut messages = Vec::new();
        while let Some(piece) = mailbox.next_message().unwrap() {
            messages.push((String::from_utf8(piece.bytes).unwrap(), piece.size));
            if !mailbox.is_mbox() {
                break;
            }
        }
        (mailbox.is_mbox(), messages)
    }

    #[test]
    fn a_message_is_one_whatever_its_lines() {
        let text = "Subject: x\n\n\nFrom here on\n>From there\n";
        let one = vec![(text.to_owned(), text.len() as u64)];
        assert_eq!(read(text.as_bytes(), 99), (false, one));
        assert_eq!(read(b"", 99), (false, vec![(String::new(), 0)]));
    }

    #[test]
    fn an_mbox_is_parted_and_unquoted() {
        let text = "From a@b Tue\nSubject: 1\n\n>From me\n>>From you\nFrom us\n\n\
                    From c@d Tue\r\nSubject: 2\r\n\r\n";
        let first = "Subject: 1\n\nFrom me\n>From you\nFrom us\n\n";
        let second = "Subject: 2\r\n\r\n";
        let expected = [first, second].map(|text| (text.to_owned(), text.len() as u64));
        assert_eq!(read(text.as_bytes(), 99), (true, expected.to_vec()));
    }

    #[test]
    fn no_more_is_kept_than_asked_for() {
        let text = format!("Subject: {}\n\nx\n", "y".repeat(300_000));
        let (_, messages) = read(text.as_bytes(), 1_000);
        let (kept, size) = messages.first().unwrap();
        assert_eq!((kept.len(), *size), (1_000, text.len() as u64));
    }
}
