//! The clock of a database that several gateways use. Each goes by it, whatever its own machine's
//! clock says.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// How far the machine's clock is from the database's. Zero where the database has no clock of its
/// own.
#[derive(Debug, Default)]
pub(crate) struct SharedClock {
    /// Microseconds by which the database's clock is ahead.
    ahead: AtomicI64,
}

impl SharedClock {
    /// Notes an answer of the database: the time by its clock, and when the machine's clock said
    /// that the question was asked.
    pub(super) fn note(&self, asked: Timestamp, answer: Timestamp) {
        let known = self.ahead();
        let nearer = nearer(known, asked, answer, Timestamp::now());
        let microseconds = i64::try_from(nearer.as_micros()).unwrap_or_default();
        self.ahead.store(microseconds, Ordering::Relaxed);
    }

    /// How far the database's clock is ahead of the machine's.
    pub(crate) fn ahead(&self) -> SignedDuration {
        SignedDuration::from_micros(self.ahead.load(Ordering::Relaxed))
    }

    /// The database's time when the machine's clock says this.
    pub(crate) fn at(&self, machine: Timestamp) -> Timestamp {
        machine.saturating_add(self.ahead()).unwrap_or(machine)
    }
}

/// How far the database's clock is ahead, by the answer that it gave between two times of the
/// machine. What was known stays if the answer does not disprove it: an answer may have waited long
/// for a lock, or for this process.
fn nearer(
    known: SignedDuration,
    asked: Timestamp,
    answer: Timestamp,
    answered: Timestamp,
) -> SignedDuration {
    let least = answer.duration_since(answered);
    // The machine's clock may have been set back meanwhile.
    let most = answer.duration_since(asked).max(least);
    known.clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::at;

    const SECOND: SignedDuration = SignedDuration::from_secs(1);

    #[test]
    fn a_slow_answer_moves_no_clock() {
        for known in [SignedDuration::ZERO, SECOND, -SECOND] {
            assert_eq!(nearer(known, at(0), at(5), at(10)), known);
        }
    }

    #[test]
    fn an_answer_moves_the_clock_as_far_as_it_proves() {
        let nearer = |known, asked, answer, answered| {
            nearer(SECOND * known, at(asked), at(answer), at(answered)).as_secs()
        };
        // The database was at 100 between 10 and 12 of the machine.
        assert_eq!(nearer(0, 10, 100, 12), 88);
        assert_eq!(nearer(500, 10, 100, 12), 90);
        assert_eq!(nearer(89, 10, 100, 12), 89);
        assert_eq!(nearer(0, 100, 10, 102), -90);
    }

    #[test]
    fn the_machine_s_clock_may_be_set_back_while_the_answer_comes() {
        let ahead = nearer(SignedDuration::ZERO, at(100), at(100), at(40));
        assert_eq!(ahead, SECOND * 60);
    }

    #[test]
    fn without_an_answer_the_machine_s_clock_counts() {
        let clock = SharedClock::default();
        assert_eq!(clock.at(at(7)), at(7));
        clock.note(Timestamp::now(), Timestamp::now() + SECOND * 60);
        let ahead = clock.at(at(7)).duration_since(at(7));
        assert!((SECOND * 59..=SECOND * 61).contains(&ahead), "{ahead}");
    }
}
