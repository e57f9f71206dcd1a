//! The memory and descriptors of the gateway over a run, and whether they grow.

use std::fmt;

use super::harness::Usage;

/// A gateway that is warm may hold so much more at the end than in the middle: its
/// database's caches fill up, and what is freed leaves some holes. A leak that
/// makes more than this in half a run is seen.
const TOLERATED_KIB: u64 = 1024;

/// The same for files; a session of its own may be open at one time and not at
/// the other.
const TOLERATED_DESCRIPTORS: usize = 8;

/// Fewer than this say nothing of a quarter.
const LEAST_IN_A_QUARTER: usize = 10;

/// One sample, after so many messages.
#[derive(Clone, Copy)]
struct Sample {
    messages: usize,
    memory_kib: u64,
    descriptors: usize,
}

/// All samples in order.
#[derive(Default)]
pub struct Growth {
    samples: Vec<Sample>,
}

/// The middle of what was measured in the second quarter of a run, and in its
/// last one; the first warms it up.
pub struct Compared {
    before: Sample,
    after: Sample,
}

impl Growth {
    pub fn measure(&mut self, messages: usize, usage: Usage) {
        self.samples.push(Sample {
            messages,
            memory_kib: usage.memory(),
            descriptors: usage.descriptors(),
        });
    }

    pub fn compared(&self) -> Compared {
        let quarter = self.samples.len() / 4;
        assert!(
            quarter >= LEAST_IN_A_QUARTER,
            "{} measurements say nothing: have it run longer",
            self.samples.len()
        );
        Compared {
            before: medians(&self.samples[quarter..2 * quarter]),
            after: medians(&self.samples[3 * quarter..]),
        }
    }
}

fn medians(samples: &[Sample]) -> Sample {
    Sample {
        messages: median(samples, |sample| sample.messages),
        memory_kib: median(samples, |sample| sample.memory_kib),
        descriptors: median(samples, |sample| sample.descriptors),
    }
}

fn median<T: Ord + Copy>(samples: &[Sample], value: impl Fn(&Sample) -> T) -> T {
    let mut values: Vec<T> = samples.iter().map(value).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

impl Compared {
    #[track_caller]
    pub fn assert_no_growth(&self) {
        let (before, after) = (self.before, self.after);
        assert!(
            after.memory_kib <= before.memory_kib + TOLERATED_KIB,
            "it grows: {self}"
        );
        assert!(
            after.descriptors <= before.descriptors + TOLERATED_DESCRIPTORS,
            "it keeps files open: {self}"
        );
    }

    /// The least leak a message that a run of this length shows, in bytes.
    fn least_leak(&self) -> u64 {
        let messages = (self.after.messages - self.before.messages).max(1);
        TOLERATED_KIB * 1024 / u64::try_from(messages).expect("a number of messages")
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after } = self;
        write!(
            f,
            "{} KiB and {} files after {} messages, {} KiB and {} files after {}; \
             a leak of {} bytes a message is seen",
            before.memory_kib,
            before.descriptors,
            before.messages,
            after.memory_kib,
            after.descriptors,
            after.messages,
            self.least_leak()
        )
    }
}
