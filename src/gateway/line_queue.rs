//! Lines on their way to the log: a queue that never blocks, and a thread that
//! writes. A line that can't be written is dropped and counted. Knows nothing of
//! a line's content.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Memory limit of the queue: some seconds of the busiest gateway's log.
const ROOM: usize = 4 * 1024 * 1024;

/// Pause before the next attempt to write the notice of lost lines, if no line
/// comes first.
const RETRY: Duration = Duration::from_secs(1);

/// Pause before the first line after a silence. Each wake of the thread costs two switches of the
/// processor, and a request's lines come within moments.
const GATHERING: Duration = Duration::from_millis(5);

/// Pause after EAGAIN: the reader is not ready, and another user of the pipe made
/// it non-blocking.
const PAUSE: Duration = Duration::from_millis(50);

/// The queue. Clones share it.
#[derive(Clone)]
pub(super) struct LineQueue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signals work for the writing thread.
    is_filled: Condvar,
    /// Signals that the writing thread has nothing to do.
    is_idle: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Waiting>,
    /// Memory of `lines`.
    bytes: usize,
    /// Number of lines dropped after the last of `lines`.
    dropped: u64,
    /// The writing thread is at work, and will look again by itself.
    is_writing: bool,
    losses: Losses,
}

/// A place in the log.
#[derive(Default)]
struct Waiting {
    /// Number of lines dropped before `line`.
    dropped: u64,
    /// None after the last line.
    line: Option<Box<[u8]>>,
}

/// Numbers of lines that are not in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// All since the start.
    pub(super) total: u64,
    /// Those that the log does not report yet.
    pub(super) unreported: u64,
}

impl Losses {
    fn add(&mut self, lines: u64) {
        self.total += lines;
        self.unreported += lines;
    }
}

impl LineQueue {
    /// Starts to write to `out`, in a thread of its own. `notice` words the line
    /// that stands for the given number of missing lines.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Self(Arc::default());
        let shared = queue.0.clone();
        let out = Output {
            out,
            is_torn: false,
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_for_ever(out, notice))?;
        Ok(queue)
    }

    /// Queues a line, its line end included. Drops it if the queue is full.
    pub(super) fn push(&self, line: &[u8]) {
        let size = size_of::<Waiting>() + line.len();
        let mut state = self.0.lock();
        if state.bytes + size > ROOM {
            state.dropped += 1;
            state.losses.add(1);
        } else {
            let dropped = std::mem::take(&mut state.dropped);
            state.bytes += size;
            state.lines.push_back(Waiting {
                dropped,
                line: Some(line.into()),
            });
        }
        let is_waited_for = !state.is_writing;
        drop(state);
        if is_waited_for {
            self.0.is_filled.notify_one();
        }
    }

    pub(super) fn losses(&self) -> Losses {
        self.0.lock().losses
    }

    /// Waits until every line is written or lost, for at most `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut State| state.is_writing || state.has_something();
        let waited = self
            .0
            .is_idle
            .wait_timeout_while(self.0.lock(), limit, is_busy);
        drop(waited);
    }
}

impl Write for LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn has_something(&self) -> bool {
        !self.lines.is_empty() || self.dropped > 0
    }

    fn take(&mut self) -> Option<Waiting> {
        if !self.has_something() {
            return None;
        }
        self.is_writing = true;
        let next = self.lines.pop_front().unwrap_or_else(|| Waiting {
            dropped: std::mem::take(&mut self.dropped),
            line: None,
        });
        let length = next
            .line
            .as_ref()
            .map_or(0, |line| line.len() + size_of::<Waiting>());
        self.bytes -= length;
        Some(next)
    }
}

impl Shared {
    /// Ignores poison: a panic while the lock is held leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut out: Output<impl Write>, notice: impl Fn(u64) -> String) {
        // Number of lines lost before the next line.
        let mut missing = 0;
        loop {
            let next = self.next(missing > 0);
            missing += next.dropped;
            if missing > 0 && out.write(notice(missing).as_bytes()) {
                self.lock().losses.unreported -= missing;
                missing = 0;
            }
            // A line is written only after the notice of the lines missing before it.
            if let Some(line) = next.line
                && (missing > 0 || !out.write(&line))
            {
                self.lock().losses.add(1);
                missing += 1;
            }
        }
    }

    /// Waits for the next line; if lines are missing, for at most [`RETRY`].
    fn next(&self, is_missing_some: bool) -> Waiting {
        let mut state = self.lock();
        state.is_writing = false;
        loop {
            if let Some(next) = state.take() {
                return next;
            }
            self.is_idle.notify_all();
            if !is_missing_some {
                let waited = self.is_filled.wait(state);
                state = self.gather(waited.unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            let waited = self.is_filled.wait_timeout(state, RETRY);
            let (waited, limit) = waited.unwrap_or_else(PoisonError::into_inner);
            if limit.timed_out() {
                return Waiting::default();
            }
            state = waited;
        }
    }

    /// Waits for the lines that come with the first one.
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if !state.has_something() {
            return state;
        }
        state.is_writing = true;
        drop(state);
        thread::sleep(GATHERING);
        self.lock()
    }
}

struct Output<W> {
    out: W,
    /// The last line was written only in part.
    is_torn: bool,
}

impl<W: Write> Output<W> {
    /// Writes a line. Returns whether it was written whole.
    fn write(&mut self, line: &[u8]) -> bool {
        // First ends a line that was cut off.
        if self.is_torn {
            self.is_torn = self.write_some(b"\n") == 0;
        }
        if self.is_torn {
            return false;
        }
        let written = self.write_some(line);
        self.is_torn = (1..line.len()).contains(&written);
        written == line.len()
    }

    /// Writes as much as there is room for, and returns the number of bytes.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => break,
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(_) => break,
            }
        }
        bytes.len() - rest.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::{
        fs::File,
        io::{BufRead, BufReader, PipeReader, Read},
        time::Instant,
    };

    use super::*;

    fn notice(lines: u64) -> String {
        format!("lost {lines}\n")
    }

    /// The number of lines that a notice stands for, and 0 of a line.
    fn missing_by(text: &str) -> u64 {
        let lines = text.strip_prefix("lost ");
        lines.map_or(0, |lines| lines.parse().unwrap())
    }

    fn line(number: u64) -> String {
        format!("line {number} {}\n", "x".repeat(100))
    }

    fn piped() -> (LineQueue, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        (LineQueue::start(writer, notice).unwrap(), reader)
    }

    /// Pushes more lines than fit into queue and pipe. Returns their number.
    fn overfill(queue: &LineQueue) -> u64 {
        let mut pushed = 0;
        while queue.losses().total < 1000 {
            queue.push(line(pushed).as_bytes());
            pushed += 1;
        }
        pushed
    }

    #[test]
    fn a_reader_that_stalls_finds_every_line_or_how_many_are_missing_there() {
        let (queue, reader) = piped();
        let pushed = overfill(&queue);
        let lost = queue.losses().total;
        assert_eq!(queue.losses().unreported, lost);
        let mut lines = BufReader::new(reader).lines();
        let mut next = || lines.next().unwrap().unwrap();
        // The writing thread may make room after a loss. Then a line comes behind the gap.
        let (mut number, mut all_missing, mut missing_before) = (0, 0, 0);
        while number < pushed {
            let text = next();
            let missing = missing_by(&text);
            if missing == 0 {
                assert_eq!(text, line(number).trim_end());
            }
            let is_whole_gap = missing == 0 || missing_before == 0;
            assert!(is_whole_gap, "two notices at {number}");
            number += missing.max(1);
            all_missing += missing;
            missing_before = missing;
        }
        assert_eq!((number, all_missing), (pushed, lost));
        queue.push(line(7).as_bytes());
        assert_eq!(next(), line(7).trim_end());
        let expected = Losses {
            total: lost,
            unreported: 0,
        };
        assert_eq!(queue.losses(), expected);
    }

    #[test]
    fn memory_is_bounded_by_bytes_whatever_the_lines_are() {
        let (queue, _reader) = piped();
        let mut lost = 0;
        for length in [1, 50_000] {
            let line = vec![b'x'; length];
            for _ in 0..2 * ROOM / (length + size_of::<Waiting>()) {
                queue.push(&line);
            }
            let state = queue.0.lock();
            let held = |waiting: &Waiting| waiting.line.as_ref().map_or(0, |line| line.len());
            let held: usize = state.lines.iter().map(held).sum();
            let slots = state.lines.len() * size_of::<Waiting>();
            assert_eq!(state.bytes, held + slots);
            assert!(state.bytes <= ROOM, "{length}");
            // Not `dropped`: it is 0 if the writing thread made room for the last line.
            assert!(state.losses.total > lost, "{length}");
            lost = state.losses.total;
        }
        queue.push(&vec![b'x'; 2 * ROOM]);
        assert!(queue.0.lock().bytes <= ROOM);
    }

    #[test]
    fn the_end_waits_for_what_is_written_and_not_for_a_reader_that_stalls() {
        let (queue, mut reader) = piped();
        queue.push(b"one\n");
        queue.flush(Duration::from_secs(60));
        let mut written = [0; 4];
        reader.read_exact(&mut written).unwrap();
        assert_eq!(&written, b"one\n");
        overfill(&queue);
        let limit = Duration::from_millis(50);
        let begin = Instant::now();
        queue.flush(limit);
        assert!(begin.elapsed() >= limit, "something was still waiting");
    }

    #[test]
    fn without_a_reader_or_room_each_line_is_counted_and_the_end_comes_at_once() {
        let (unread, reader) = piped();
        drop(reader);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let full = LineQueue::start(full, notice).unwrap();
        for queue in [unread, full] {
            for number in 0..100 {
                queue.push(line(number).as_bytes());
            }
            queue.flush(Duration::from_secs(60));
            let all = Losses {
                total: 100,
                unreported: 100,
            };
            assert_eq!(queue.losses(), all);
        }
    }

    /// A file system: its bytes, and its size.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let room = disk.1 - disk.0.len();
            if room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let written = &bytes[..room.min(bytes.len())];
            disk.0.extend_from_slice(written);
            Ok(written.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended_before_the_next() {
        let disk = Disk::default();
        disk.0.lock().unwrap().1 = 7;
        let queue = LineQueue::start(disk.clone(), notice).unwrap();
        for line in ["one\n", "two and a half\n", "three\n"] {
            queue.push(line.as_bytes());
        }
        queue.flush(Duration::from_secs(60));
        assert_eq!(queue.losses().unreported, 2);
        disk.0.lock().unwrap().1 = 1000;
        queue.push(b"four\n");
        queue.flush(Duration::from_secs(60));
        let written = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        assert_eq!(written, "one\ntwo\nlost 2\nfour\n");
    }
}
