//! Looks at SQLite's write-ahead log: its length, and the pages in it (format:
//! sqlite.org/fileformat2.html, section 4). Changes nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// First word of the log. Its last bit gives the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;

/// The largest page that SQLite knows.
const LARGEST_PAGE: u32 = 1 << 16;

/// Bytes of the log beside this database, 0 without one.
pub(super) fn length_beside(database: &Path) -> u64 {
    fs::metadata(log_of(database)).map_or(0, |log| log.len())
}

/// The pages in the log beside this database, which needs them if it ends early. SQLite's locks are
/// on the other two files, so that closing the log drops none.
pub(super) fn pages_beside(database: &Path) -> io::Result<BTreeSet<u64>> {
    match File::open(log_of(database)) {
        Ok(file) => committed_pages(BufReader::new(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

fn log_of(database: &Path) -> PathBuf {
    let mut path = OsString::from(database);
    path.push("-wal");
    PathBuf::from(path)
}

/// The pages of all transactions with their commit in the log. SQLite reads only those.
fn committed_pages(log: impl Read) -> io::Result<BTreeSet<u64>> {
    let mut committed = BTreeSet::new();
    let Some(mut frames) = Frames::begin(log)? else {
        return Ok(committed);
    };
    let mut uncommitted = Vec::new();
    while let Some(frame) = frames.next()? {
        uncommitted.push(u64::from(frame.page));
        if frame.is_commit {
            committed.extend(uncommitted.drain(..));
        }
    }
    Ok(committed)
}

struct Frame {
    page: u32,
    is_commit: bool,
}

/// The valid frames of a log, in order.
struct Frames<R> {
    log: R,
    is_big_endian: bool,
    /// Repeated in each frame of this log. Frames of an earlier log have another.
    salt: [u32; 2],
    /// Checksum of everything before.
    checksum: Checksum,
    page: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// Returns none without a valid header.
    fn begin(mut log: R) -> io::Result<Option<Self>> {
        let mut header = [0; 32];
        if !fill(&mut log, &mut header)? {
            return Ok(None);
        }
        let [magic, _, page_size, _, salt_1, salt_2, first, second] = words(&header);
        let is_big_endian = magic == MAGIC | 1;
        let content = header.split_at(24).0;
        let checksum = Checksum::default().over(content, is_big_endian);
        let is_valid = magic | 1 == MAGIC | 1
            && page_size <= LARGEST_PAGE
            && checksum == Checksum(first, second);
        Ok(is_valid.then(|| Self {
            log,
            is_big_endian,
            salt: [salt_1, salt_2],
            checksum,
            page: vec![0; page_size as usize],
        }))
    }

    /// Returns none at the first invalid frame, which is the end of the log.
    fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; 24];
        if !fill(&mut self.log, &mut header)? || !fill(&mut self.log, &mut self.page)? {
            return Ok(None);
        }
        let [page, size_after_commit, salt_1, salt_2, first, second] = words(&header);
        let content = header.split_at(8).0;
        let checksum = self.checksum.over(content, self.is_big_endian);
        self.checksum = checksum.over(&self.page, self.is_big_endian);
        let is_valid = [salt_1, salt_2] == self.salt && self.checksum == Checksum(first, second);
        Ok(is_valid.then_some(Frame {
            page,
            is_commit: size_after_commit != 0,
        }))
    }
}

/// Fills the buffer. False if the log ends before.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The numbers of a header, which are always big-endian.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// A checksum by section 4.2 of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Checksum(u32, u32);

impl Checksum {
    /// Continues over these bytes, a multiple of eight.
    fn over(self, bytes: &[u8], is_big_endian: bool) -> Self {
        let number = |bytes: [u8; 4]| match is_big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        };
        let Self(mut first, mut second) = self;
        for &[a, b, c, d, e, f, g, h] in bytes.as_chunks().0 {
            first = first
                .wrapping_add(number([a, b, c, d]))
                .wrapping_add(second);
            second = second
                .wrapping_add(number([e, f, g, h]))
                .wrapping_add(first);
        }
        Self(first, second)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::fs;

    use super::*;
    use crate::store::testing::{TestStore, request};

    const HEADER: usize = 32;
    const FRAME: usize = 24 + 4096;

    /// The log of a store with three requests in it, whose transactions take
    /// many frames each.
    async fn log() -> Vec<u8> {
        let test = TestStore::sqlite().await;
        for number in 0..3 {
            test.store.accept(request(number)).await.unwrap();
        }
        let log = fs::read(format!("{}-wal", test.settings.path.display())).unwrap();
        assert_eq!(log.len() % FRAME, HEADER, "whole frames");
        log
    }

    fn pages(log: &[u8]) -> BTreeSet<u64> {
        committed_pages(log).unwrap()
    }

    /// By the frames' headers alone, which is right for a log written once: the
    /// pages that its first frames commit.
    fn expected(log: &[u8], frames: usize) -> BTreeSet<u64> {
        let headers = log[HEADER..].chunks(FRAME).take(frames);
        let (mut committed, mut uncommitted) = (BTreeSet::new(), BTreeSet::new());
        for header in headers {
            let [page, size, ..]: [u32; 6] = words(header);
            uncommitted.insert(u64::from(page));
            if size != 0 {
                committed.append(&mut uncommitted);
            }
        }
        committed
    }

    #[tokio::test]
    async fn what_is_committed_counts_however_much_of_the_log_is_left() {
        let log = log().await;
        let frames = (log.len() - HEADER) / FRAME;
        let all = pages(&log);
        assert_eq!(all, expected(&log, frames));
        assert_eq!(all.first(), Some(&1));
        for kept in 0..=frames {
            let end = HEADER + kept * FRAME;
            for torn in [0, 1, 24, 25, FRAME - 1] {
                let log = &log[..log.len().min(end + torn)];
                assert_eq!(pages(log), expected(log, kept), "{kept} {torn}");
            }
        }
        assert_eq!(pages(&log[..HEADER - 1]), BTreeSet::new());
    }

    #[tokio::test]
    async fn the_log_ends_where_a_byte_is_wrong() {
        let log = log().await;
        let frames = (log.len() - HEADER) / FRAME;
        for frame in 0..frames {
            for place in [0, 7, 8, 15, 16, 23, 24, FRAME - 1] {
                let mut log = log.clone();
                log[HEADER + frame * FRAME + place] ^= 1;
                assert_eq!(pages(&log), expected(&log, frame), "{frame} {place}");
            }
        }
        for place in 0..HEADER {
            let mut log = log.clone();
            log[place] ^= 1;
            assert_eq!(pages(&log), BTreeSet::new(), "{place}");
        }
    }

    #[test]
    fn checksums_count_in_either_byte_order() {
        let bytes = [0, 0, 0, 1, 0, 0, 0, 2];
        let checksum = |is_big_endian| Checksum(3, 5).over(&bytes, is_big_endian);
        assert_eq!(checksum(true), Checksum(9, 16));
        assert_eq!(checksum(false), Checksum(8 + (1 << 24), 13 + (3 << 24)));
    }
}
