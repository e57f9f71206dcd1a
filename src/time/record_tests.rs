//! A machine whose clock is set, ahead or behind, and that is started again.

#![allow(clippy::unwrap_used)]

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::record::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A machine with a clock that people and programs set.
struct Machine {
    /// The time by a right clock.
    real: Timestamp,
    uptime: SignedDuration,
    /// How far the clock is ahead.
    ahead: SignedDuration,
    record: ClockRecord,
}

impl Machine {
    fn new() -> Self {
        let real: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let uptime = SignedDuration::from_secs(100);
        let record = ClockRecord::new(Look { now: real, uptime });
        let ahead = SignedDuration::ZERO;
        Self {
            real,
            uptime,
            ahead,
            record,
        }
    }

    /// The time by the machine's clock. Each stamp is a look.
    fn stamp(&mut self) -> Timestamp {
        let (now, uptime) = (self.real + self.ahead, self.uptime);
        self.record.look(Look { now, uptime });
        now
    }

    fn run(&mut self, time: SignedDuration) {
        self.real += time;
        self.uptime += time;
        self.stamp();
    }

    fn set(&mut self, by: SignedDuration) {
        self.ahead += by;
        self.stamp();
    }

    /// Switches off for this time. The first look is half a minute after the start.
    fn start_again(&mut self, off: SignedDuration) {
        self.uptime = SignedDuration::from_secs(30);
        self.real += off + self.uptime;
        self.stamp();
    }

    fn is_older(&self, stamp: Timestamp, age: SignedDuration) -> bool {
        stamp < self.record.surely_before(age)
    }
}

#[test]
fn a_clock_that_runs_evenly_is_taken_at_its_word() {
    let mut machine = Machine::new();
    let stamp = machine.stamp();
    machine.run(DAY);
    assert_eq!(machine.record.surely_passed(), stamp + DAY);
    assert!(!machine.is_older(stamp, DAY));
    machine.run(SECOND);
    assert!(machine.is_older(stamp, DAY));
    assert_eq!(machine.record.doubt(), None);
}

#[test]
fn a_clock_that_is_ahead_makes_nothing_older() {
    let mut machine = Machine::new();
    let stamp = machine.stamp();
    machine.run(DAY);
    for _ in 0..10 {
        machine.set(6 * DAY);
        assert!(!machine.is_older(stamp, 2 * DAY));
        let doubt = machine.record.doubt().unwrap();
        assert_eq!(
            (doubt.behind, doubt.believed_in),
            (-6 * DAY, BELIEVED_AFTER)
        );
        machine.run(8 * SECOND);
        machine.set(-6 * DAY);
        assert_eq!(machine.record.doubt(), None);
    }
    assert_eq!(machine.record.surely_passed(), machine.real);
    assert!(machine.is_older(stamp, DAY));
}

/// Not even when it is believed in the end.
#[test]
fn a_clock_that_stays_ahead_makes_nothing_older_than_it_is() {
    let mut machine = Machine::new();
    let stamp = machine.stamp();
    machine.set(402 * DAY);
    machine.run(BELIEVED_AFTER - SECOND);
    assert!(machine.record.doubt().is_some());
    machine.run(SECOND);
    assert_eq!(machine.record.doubt(), None);
    assert_eq!(machine.record.surely_passed(), machine.real + 402 * DAY);
    assert!(!machine.is_older(stamp, DAY));
    let later = machine.stamp();
    machine.run(DAY);
    assert!(machine.is_older(stamp, DAY));
    machine.run(SECOND);
    assert!(machine.is_older(later, DAY));
}

#[test]
fn what_was_stamped_while_the_clock_was_behind_is_no_older_than_it_is() {
    let mut machine = Machine::new();
    machine.run(30 * DAY);
    machine.set(-20 * DAY);
    let stamp = machine.stamp();
    machine.run(8 * SECOND);
    assert!(machine.record.doubt().is_some());
    machine.set(20 * DAY);
    assert!(!machine.is_older(stamp, DAY));
    machine.run(BELIEVED_AFTER);
    assert!(!machine.is_older(stamp, DAY));
    machine.run(DAY);
    assert!(machine.is_older(stamp, DAY));
}

#[test]
fn a_battery_that_is_empty_makes_nothing_older() {
    let mut machine = Machine::new();
    let before = machine.stamp();
    machine.ahead = -9000 * DAY;
    machine.start_again(SignedDuration::from_mins(2));
    let behind = machine.stamp();
    machine.run(SignedDuration::from_mins(1));
    machine.set(9000 * DAY);
    for _ in 0..23 {
        machine.run(SignedDuration::from_hours(1));
        assert!(!machine.is_older(before, DAY) && !machine.is_older(behind, DAY));
    }
    machine.run(SignedDuration::from_hours(2));
    assert!(machine.is_older(before, DAY) && machine.is_older(behind, DAY));
    assert_eq!(machine.record.surely_passed(), machine.real);
}

/// Time for which the machine was off counts once the clock is believed.
#[test]
fn a_machine_that_was_off_for_long_works_on_when_its_clock_is_believed() {
    let mut machine = Machine::new();
    let stamp = machine.stamp();
    machine.start_again(402 * DAY);
    assert!(!machine.is_older(stamp, DAY));
    assert!(machine.record.doubt().is_some());
    machine.run(BELIEVED_AFTER);
    assert!(machine.is_older(stamp, 402 * DAY));
    assert_eq!(machine.record.doubt(), None);
}

#[test]
fn a_short_restart_is_no_reason_for_doubt() {
    let mut machine = Machine::new();
    machine.start_again(SignedDuration::from_mins(5));
    assert_eq!(machine.record.doubt(), None);
    machine.start_again(SignedDuration::from_hours(1));
    assert!(machine.record.doubt().is_some());
}

#[test]
fn the_newest_time_of_a_database_without_a_record_counts() {
    let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let look = Look {
        now: now + 402 * DAY,
        uptime: SECOND,
    };
    let record = ClockRecord::after(now, look);
    assert_eq!(record.surely_passed(), now);
    assert_eq!(record.doubt().unwrap().behind, -402 * DAY);
    assert_eq!(ClockRecord::new(look).doubt(), None);
}

#[test]
fn times_at_the_ends_of_the_calendar_are_no_trouble() {
    let mut machine = Machine::new();
    for now in [Timestamp::MAX, Timestamp::MIN, machine.real] {
        let uptime = machine.uptime;
        machine.record.look(Look { now, uptime });
        let _ = machine.record.surely_before(SignedDuration::MAX);
        let _ = machine.record.surely_before(SignedDuration::MIN);
        let uptime = SignedDuration::MAX;
        machine.record.look(Look { now, uptime });
    }
}

#[derive(Clone, Debug)]
enum Step {
    Run(SignedDuration),
    Set(SignedDuration),
    StartAgain(SignedDuration),
}

fn some_time() -> impl Strategy<Value = SignedDuration> {
    prop_oneof![
        (1..60_i64).prop_map(SignedDuration::from_secs),
        (1..600_i64).prop_map(SignedDuration::from_mins),
        (1..500_i64).prop_map(|days| DAY * i32::try_from(days).unwrap()),
    ]
}

fn steps(sets: bool, is_started_again: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => some_time().prop_map(Step::Run),
        u32::from(sets) * 3 => (some_time(), any::<bool>())
            .prop_map(|(time, back)| Step::Set(if back { -time } else { time })),
        u32::from(is_started_again) * 2 => some_time().prop_map(Step::StartAgain),
    ];
    prop::collection::vec(step, 1..80)
}

/// Takes the steps and makes a stamp after each. A stamp that is found to be older
/// than `age` has to be.
fn nothing_is_older_than_it_is(steps: Vec<Step>, age: SignedDuration) -> Machine {
    let mut machine = Machine::new();
    let mut stamps = vec![(machine.real, machine.stamp())];
    for step in steps {
        match step {
            Step::Run(time) => machine.run(time),
            Step::Set(by) => machine.set(by),
            Step::StartAgain(off) => machine.start_again(off),
        }
        let made = machine.real;
        stamps.push((made, machine.stamp()));
        for (made, stamp) in &stamps {
            let real_age = machine.real.duration_since(*made);
            assert!(!machine.is_older(*stamp, age) || real_age + TOLERANCE > age);
        }
    }
    let bound = STRETCHES_KEPT + 1;
    assert!(machine.record.past.len() <= bound, "not bounded");
    machine
}

proptest! {
    /// However the clock is set while the machine runs.
    #[test]
    fn no_setting_of_the_clock_makes_anything_older(
        steps in steps(true, false),
        age in some_time(),
    ) {
        nothing_is_older_than_it_is(steps, age);
    }

    /// However often it is started, as long as its clock is right.
    #[test]
    fn no_start_of_the_machine_makes_anything_older(
        steps in steps(false, true),
        age in some_time(),
    ) {
        nothing_is_older_than_it_is(steps, age);
    }

    /// A clock that runs on is believed in the end, and after that every stamp
    /// grows old.
    #[test]
    fn everything_comes_to_an_end(steps in steps(true, true), age in some_time()) {
        let mut machine = nothing_is_checked(steps);
        let stamp = machine.stamp();
        machine.run(BELIEVED_AFTER);
        prop_assert_eq!(machine.record.doubt(), None);
        let passed = machine.record.surely_passed();
        prop_assert!((machine.stamp().duration_since(passed)).abs() <= TOLERANCE);
        machine.run(age + TOLERANCE);
        prop_assert!(machine.is_older(stamp, age));
        let newest = machine.stamp();
        prop_assert!(!machine.is_older(newest, SECOND));
    }
}

fn nothing_is_checked(steps: Vec<Step>) -> Machine {
    nothing_is_older_than_it_is(steps, SignedDuration::MAX)
}
