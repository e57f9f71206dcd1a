//! The record of how the clock ran beside the machine's uptime, and the time that
//! has surely passed by it. Pure: reads no clock.
//!
//! The uptime counts on whatever the clock is set to, and while the machine sleeps.
//! The _line_ is a time that advances with the uptime alone. A clock that leaves the
//! line was set, or the machine was off. Nobody knows then how much time has passed.
//! So the clock is believed again only after it has run on evenly for
//! [`BELIEVED_AFTER`]. Then the line is moved to the clock.
//!
//! - A clock that is ahead for a while makes nothing older than it is.
//! - A stamp made while the clock was behind, or before the clock was set forward,
//!   ages by the uptime.
//! - Time for which the machine was off counts once the clock is believed.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::relative::length;

/// Time for which the clock must run on evenly to be believed. Long enough for a
/// person to see the alarm, and short enough for a machine that is switched off
/// each night.
pub(crate) const BELIEVED_AFTER: SignedDuration = SignedDuration::from_hours(6);

/// A clock that is off by more than this is in doubt. A restart of the machine takes
/// less.
const DOUBTED_FROM: SignedDuration = SignedDuration::from_mins(30);

/// Drift between clock and uptime that does not count as setting the clock. A thread
/// can be delayed between reading the two.
pub(super) const TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// Number of past stretches that are kept. Beyond that the two oldest become one.
pub(super) const STRETCHES_KEPT: usize = 32;

/// A reading of the clock and the uptime at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Time by the clock.
    pub(crate) now: Timestamp,
    /// Time since the machine was started, sleep included.
    pub(crate) uptime: SignedDuration,
}

/// A period during which the clock ran evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Earliest time of the clock in the stretch.
    pub(crate) from: Timestamp,
    /// Latest time of the clock in the stretch.
    pub(crate) until: Timestamp,
    /// How far the clock was behind the line; below zero if it was ahead.
    pub(crate) behind: SignedDuration,
    /// True until the machine is started again.
    pub(crate) of_this_boot: bool,
}

/// The record of how the clock ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClockRecord {
    /// The line at the last look.
    pub(crate) line: Timestamp,
    /// The last look.
    pub(crate) last: Look,
    /// The stretch of the last look.
    pub(crate) present: Stretch,
    /// Earlier stretches that still matter, the oldest first.
    pub(crate) past: Vec<Stretch>,
}

/// A clock that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// How far the clock is behind the line; below zero if it is ahead.
    pub(crate) behind: SignedDuration,
    /// Time for which the clock must still run on evenly to be believed.
    pub(crate) believed_in: SignedDuration,
}

impl ClockRecord {
    /// The record of a clock without a history. The clock is believed.
    pub(crate) fn new(look: Look) -> Self {
        Self::after(look.now, look)
    }

    /// The record of a clock without a history except `newest`, the latest time that
    /// it stamped.
    pub(crate) fn after(newest: Timestamp, look: Look) -> Self {
        Self {
            line: newest,
            last: look,
            present: Stretch::begin(newest, look.now),
            past: Vec::new(),
        }
    }

    /// Adds a look. Looks must come in order.
    pub(crate) fn look(&mut self, look: Look) {
        let is_other_boot = look.uptime < self.last.uptime;
        // The machine ran at least this long since the last look.
        let ran = match is_other_boot {
            true => look.uptime,
            false => look.uptime.saturating_sub(self.last.uptime),
        };
        self.line = later(self.line, ran);
        self.last = look;
        let drift = self
            .line
            .duration_since(look.now)
            .saturating_sub(self.present.behind);
        if is_other_boot || drift.abs() > TOLERANCE {
            self.end_stretch(is_other_boot);
        }
        self.present.take_in(look.now);
        self.believe();
    }

    fn end_stretch(&mut self, is_other_boot: bool) {
        let next = Stretch::begin(self.line, self.last.now);
        self.past.push(std::mem::replace(&mut self.present, next));
        if is_other_boot {
            self.past
                .iter_mut()
                .for_each(|stretch| stretch.of_this_boot = false);
        }
        self.past.retain(Stretch::matters);
        if self.past.len() > STRETCHES_KEPT {
            let oldest = self.past.remove(0);
            if let Some(next) = self.past.first_mut() {
                *next = oldest.joined(*next);
            }
        }
    }

    /// Moves the line to a clock that has run on evenly for long enough.
    fn believe(&mut self) {
        if self.time_to_believe() > SignedDuration::ZERO {
            return;
        }
        let behind = std::mem::take(&mut self.present.behind);
        self.line = earlier(self.line, behind);
        // Stamps since the machine was started are as old as the uptime says,
        // whatever the clock was set to in between. Earlier stamps grow older by
        // the time for which the machine was off.
        let is_line_set_back = behind > SignedDuration::ZERO;
        let moves = |stretch: &&mut Stretch| stretch.of_this_boot || is_line_set_back;
        for stretch in self.past.iter_mut().filter(moves) {
            stretch.behind = stretch.behind.saturating_sub(behind);
        }
    }

    fn time_to_believe(&self) -> SignedDuration {
        let begun = later(self.present.from, self.present.behind);
        BELIEVED_AFTER.saturating_sub(self.line.duration_since(begun))
    }

    /// The latest time that had surely passed at the last look.
    pub(crate) fn surely_passed(&self) -> Timestamp {
        self.line.min(self.last.now)
    }

    /// A time: everything that the clock stamped before it was surely older than
    /// `age` at the last look.
    pub(crate) fn surely_before(&self, age: SignedDuration) -> Timestamp {
        let before = earlier(self.surely_passed(), age);
        let on_line = earlier(self.line, age);
        self.past
            .iter()
            .chain([&self.present])
            .map(|stretch| stretch.surely_before(on_line))
            .fold(before, Timestamp::min)
    }

    /// The doubt, if the clock is so far off that a person should check it.
    #[must_use]
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        let behind = self.present.behind;
        (behind.abs() > DOUBTED_FROM).then(|| Doubt {
            behind,
            believed_in: self.time_to_believe(),
        })
    }
}

impl Stretch {
    fn begin(line: Timestamp, now: Timestamp) -> Self {
        Self {
            from: now,
            until: now,
            behind: line.duration_since(now),
            of_this_boot: true,
        }
    }

    /// Extends the stretch both ways, because a clock may go back by less than
    /// [`TOLERANCE`] without being set.
    fn take_in(&mut self, now: Timestamp) {
        self.from = self.from.min(now);
        self.until = self.until.max(now);
    }

    /// A time: everything stamped before it, in this stretch or earlier, was stamped
    /// before `on_line` by the line. [`Timestamp::MAX`] if the whole stretch was.
    fn surely_before(&self, on_line: Timestamp) -> Timestamp {
        match later(self.until, self.behind) < on_line {
            true => Timestamp::MAX,
            false => self.from.max(earlier(on_line, self.behind)),
        }
    }

    /// Whether an age may depend on this stretch. A stretch of an earlier boot matters
    /// only if the clock was behind in it.
    fn matters(&self) -> bool {
        self.of_this_boot || self.behind > TOLERANCE
    }

    /// One stretch in place of two. It makes nothing older than the two do.
    fn joined(self, next: Self) -> Self {
        Self {
            from: self.from.min(next.from),
            until: self.until.max(next.until),
            behind: self.behind.max(next.behind),
            of_this_boot: self.of_this_boot || next.of_this_boot,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let off = length(self.behind.abs());
        let believed_in = length(self.believed_in);
        let way = match self.behind.is_negative() {
            true => "ahead of",
            false => "behind",
        };
        write!(
            f,
            "the clock is {off} {way} the time that has surely passed: it was set, or the machine \
             was off; nothing is given up, cut or forgotten by it until it has run on evenly for \
             {believed_in}; set it now if it is wrong"
        )
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_sub(by).unwrap_or(Timestamp::MIN)
}
