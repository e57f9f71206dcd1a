//! How much one sender may ask (STS600-9-2 clause 4, "too many messages in a
//! short space of time"): a token bucket with a second stage. Within the
//! allowance a message is done at once. Above it the message waits for its turn.
//! Far above it the sender is blocked for a time. Pure: the caller brings the time
//! and keeps the buckets.

use jiff::{SignedDuration, Timestamp};

/// The amount that one bucket allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Messages that are done at once for a sender that asked nothing before.
    pub(crate) at_once: u32,
    /// The time after which one more is done.
    pub(crate) every: SignedDuration,
    /// The consequence of far more messages.
    pub(crate) excess: Excess,
}

/// The consequence of far more messages than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Messages wait, however many.
    Defer,
    /// The sender is blocked.
    Block {
        /// More messages than this, done or waiting, lead to the block.
        above: u32,
        /// The shortest time of the block. It never ends before the sender is
        /// within the allowance again.
        lasting: SignedDuration,
    },
    /// Nothing more is taken.
    Refuse {
        /// The most messages, done or waiting.
        above: u32,
    },
}

impl Allowance {
    /// An allowance so many times as large, above which messages only wait.
    pub(crate) fn enlarged(&self, times: u32) -> Self {
        let times = times.max(1);
        Self {
            at_once: self.at_once.saturating_mul(times),
            every: self.every.checked_div(factor(times)).unwrap_or(self.every),
            excess: Excess::Defer,
        }
    }

    /// The allowance of an answered address, from that of one sender: as much at
    /// once, and one more each so many times as long. Beyond twice as many messages as
    /// block one sender nothing is taken, which bounds the wait.
    pub(crate) fn for_target(&self, times: u32) -> Self {
        let excess = match self.excess {
            Excess::Block { above, .. } | Excess::Refuse { above } => Excess::Refuse {
                above: above.saturating_mul(2),
            },
            Excess::Defer => Excess::Defer,
        };
        Self {
            at_once: self.at_once,
            every: self.every.saturating_mul(factor(times)),
            excess,
        }
    }

    /// Half the allowance, beyond which nothing is taken. One network gets it, so
    /// that the rest is left for the others.
    pub(crate) fn halved(&self) -> Self {
        let at_once = self.at_once.div_ceil(2);
        Self {
            at_once,
            every: self.every.saturating_mul(2),
            excess: Excess::Refuse { above: at_once },
        }
    }
}

/// The record of one sender. Times are kept as lengths, counted from the last
/// look at the bucket, so that a clock that is set back prolongs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The time of the last look.
    pub(crate) seen: Timestamp,
    /// The time that the allowance needs from then on for the messages taken.
    pub(crate) backlog: SignedDuration,
    /// The stage of the sender.
    pub(crate) stage: Stage,
}

/// The stage of a sender. A notice is sent when the stage gets worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No message waits.
    Open,
    /// A message was put off, and the backlog is not worked off yet.
    Deferring,
    /// No message is taken.
    Blocked {
        /// The rest of the block, counted from the last look.
        left: SignedDuration,
    },
}

/// The fate of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The message is done at once.
    Allowed,
    /// The message is taken and done later.
    Deferred {
        /// The time of its turn.
        until: Timestamp,
        /// Whether it is the first that waits, so that the sender gets a notice.
        newly: bool,
    },
    /// The sender is blocked.
    Blocked {
        /// The end of the block.
        until: Timestamp,
        /// Whether this message led to the block. Only that message is taken, and
        /// done at the end of the block.
        newly: bool,
    },
    /// The message is not taken, and nothing changes.
    Refused,
}

/// No backlog grows past this, whatever is configured.
const LONGEST_BACKLOG: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Bucket {
    /// The bucket of an unknown sender.
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self {
            seen: now,
            backlog: SignedDuration::ZERO,
            stage: Stage::Open,
        }
    }

    /// The bucket as it is now.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        let passed = now.duration_since(self.seen).max(SignedDuration::ZERO);
        let backlog = self
            .backlog
            .saturating_sub(passed)
            .max(SignedDuration::ZERO);
        let stage = match self.stage {
            Stage::Blocked { left } if left > passed => Stage::Blocked {
                left: left.saturating_sub(passed),
            },
            Stage::Blocked { .. } => Stage::Open,
            Stage::Deferring if backlog.is_zero() => Stage::Open,
            stage => stage,
        };
        Self {
            seen: now,
            backlog,
            stage,
        }
    }

    /// Whether the bucket is as good as new.
    pub(crate) fn is_idle(&self) -> bool {
        self.backlog.is_zero() && self.stage == Stage::Open
    }

    /// The end of the block, if the sender is blocked.
    pub(crate) fn blocked_until(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Blocked { left } => Some(after(self.seen, left)),
            Stage::Open | Stage::Deferring => None,
        }
    }
}

/// Takes a message of this cost (1 for an ordinary message) out of the allowance,
/// or refuses it.
///
/// The messages done by any moment never exceed the allowance up to then. Deferred
/// messages and the message that led to a block count too.
#[must_use]
pub(crate) fn step(
    bucket: Bucket,
    now: Timestamp,
    cost: u32,
    allowance: &Allowance,
) -> (Bucket, Standing) {
    let bucket = bucket.at(now);
    if let Some(until) = bucket.blocked_until() {
        return (
            bucket,
            Standing::Blocked {
                until,
                newly: false,
            },
        );
    }
    let needs = |messages| allowance.every.saturating_mul(factor(messages));
    let backlog = bucket
        .backlog
        .saturating_add(needs(cost))
        .min(LONGEST_BACKLOG);
    let wait = backlog
        .saturating_sub(needs(allowance.at_once))
        .max(SignedDuration::ZERO);
    let (stage, standing) = match allowance.excess {
        Excess::Refuse { above } if backlog > needs(above) => return (bucket, Standing::Refused),
        Excess::Block { above, lasting } if backlog > needs(above) => {
            let left = lasting.max(wait);
            let until = after(now, left);
            (
                Stage::Blocked { left },
                Standing::Blocked { until, newly: true },
            )
        }
        _ if wait.is_zero() => (bucket.stage, Standing::Allowed),
        _ => (
            Stage::Deferring,
            Standing::Deferred {
                until: after(now, wait),
                newly: bucket.stage == Stage::Open,
            },
        ),
    };
    let bucket = Bucket {
        backlog,
        stage,
        ..bucket
    };
    (bucket, standing)
}

fn after(moment: Timestamp, time: SignedDuration) -> Timestamp {
    moment.saturating_add(time).unwrap_or(Timestamp::MAX)
}

fn factor(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Three at once, then one a minute; more than eight lead to an hour's block.
    const SMALL: Allowance = Allowance {
        at_once: 3,
        every: SignedDuration::from_mins(1),
        excess: Excess::Block {
            above: 8,
            lasting: SignedDuration::from_hours(1),
        },
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// A sender, message by message.
    struct Sender(Bucket);

    impl Sender {
        fn new() -> Self {
            Sender(Bucket::new(at(0)))
        }

        fn sends(&mut self, seconds: i64) -> Standing {
            let (bucket, standing) = step(self.0, at(seconds), 1, &SMALL);
            self.0 = bucket;
            standing
        }
    }

    fn deferred(until: i64, newly: bool) -> Standing {
        let until = at(until);
        Standing::Deferred { until, newly }
    }

    fn blocked(until: i64, newly: bool) -> Standing {
        let until = at(until);
        Standing::Blocked { until, newly }
    }

    #[test]
    fn a_flood_is_allowed_then_deferred_then_blocked() {
        let mut sender = Sender::new();
        let standings: Vec<_> = (0..10).map(|_| sender.sends(0)).collect();
        let expected = [
            Standing::Allowed,
            Standing::Allowed,
            Standing::Allowed,
            deferred(60, true),
            deferred(120, false),
            deferred(180, false),
            deferred(240, false),
            deferred(300, false),
            blocked(3600, true),
            blocked(3600, false),
        ];
        assert_eq!(standings, expected);
    }

    #[test]
    fn a_block_ends_and_is_not_prolonged_by_asking() {
        let mut sender = Sender::new();
        for second in 0..3600 {
            sender.sends(second);
        }
        assert_eq!(sender.sends(3608), Standing::Allowed);
    }

    #[test]
    fn a_block_lasts_until_its_sender_is_within_the_allowance() {
        let short = Allowance {
            excess: Excess::Block {
                above: 8,
                lasting: SignedDuration::from_secs(1),
            },
            ..SMALL
        };
        let mut bucket = Bucket::new(at(0));
        for _ in 0..9 {
            bucket = step(bucket, at(0), 1, &short).0;
        }
        assert_eq!(bucket.blocked_until(), Some(at(360)));
    }

    #[test]
    fn the_sender_is_told_again_only_after_all_was_worked_off() {
        let mut sender = Sender::new();
        for _ in 0..3 {
            sender.sends(0);
        }
        assert_eq!(sender.sends(0), deferred(60, true));
        assert_eq!(sender.sends(120), Standing::Allowed);
        assert_eq!(sender.sends(120), deferred(180, false));
        for _ in 0..3 {
            assert_eq!(sender.sends(1000), Standing::Allowed);
        }
        assert_eq!(sender.sends(1000), deferred(1060, true));
    }

    #[test]
    fn a_clock_set_back_prolongs_nothing() {
        let mut sender = Sender::new();
        for _ in 0..9 {
            sender.sends(100_000);
        }
        assert_eq!(sender.sends(0), blocked(3600, false));
        assert_eq!(sender.sends(3600), Standing::Allowed);
    }

    #[test]
    fn an_enlarged_allowance_only_defers() {
        let network = SMALL.enlarged(20);
        assert_eq!(network.at_once, 60);
        assert_eq!(network.every, SignedDuration::from_secs(3));
        let mut bucket = Bucket::new(at(0));
        for message in 1..=1000 {
            let (next, standing) = step(bucket, at(0), 1, &network);
            assert_eq!(standing == Standing::Allowed, message <= 60);
            assert!(!matches!(standing, Standing::Blocked { .. }));
            bucket = next;
        }
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let refusing = Allowance {
            excess: Excess::Refuse { above: 5 },
            ..SMALL
        };
        let mut bucket = Bucket::new(at(0));
        for message in 1..=9 {
            let (next, standing) = step(bucket, at(0), 1, &refusing);
            assert_eq!(standing == Standing::Refused, message > 5, "{message}");
            bucket = next;
        }
        assert_eq!(bucket.backlog, SignedDuration::from_mins(5));
        let (_, after_a_minute) = step(bucket, at(60), 1, &refusing);
        assert_eq!(after_a_minute, deferred(180, false));
    }

    #[test]
    fn half_an_allowance_is_half_as_fast() {
        let half = SMALL.halved();
        assert_eq!(half.at_once, 2);
        assert_eq!(half.every, SignedDuration::from_mins(2));
        assert_eq!(half.excess, Excess::Refuse { above: 2 });
    }

    #[test]
    fn a_cost_is_that_of_as_many_messages() {
        let (at_once, _) = step(Bucket::new(at(0)), at(0), 3, &SMALL);
        let mut sender = Sender::new();
        for _ in 0..3 {
            sender.sends(0);
        }
        assert_eq!(at_once, sender.0);
    }

    fn allowance() -> impl Strategy<Value = Allowance> {
        let excess = prop_oneof![
            Just(Excess::Defer),
            (0..60_u32, 0..7200_i64).prop_map(|(above, seconds)| Excess::Block {
                above,
                lasting: SignedDuration::from_secs(seconds),
            }),
            (0..60_u32).prop_map(|above| Excess::Refuse { above }),
        ];
        (0..20_u32, 1..100_i64, excess).prop_map(|(at_once, every, excess)| Allowance {
            at_once,
            every: SignedDuration::from_secs(every),
            excess,
        })
    }

    proptest! {
        #[test]
        fn no_more_is_done_than_the_allowance_has(
            allowance in allowance(),
            pauses in prop::collection::vec(prop_oneof![4 => Just(0), 2 => 0..5_i64, 1 => 0..900_i64], 1..200),
        ) {
            let mut bucket = Bucket::new(at(0));
            let mut now = 0;
            let mut done = Vec::new();
            for pause in pauses {
                now += pause;
                let (next, standing) = step(bucket, at(now), 1, &allowance);
                bucket = next;
                match standing {
                    Standing::Allowed => done.push(at(now)),
                    Standing::Deferred { until, .. } | Standing::Blocked { until, newly: true } => done.push(until),
                    Standing::Blocked { newly: false, .. } | Standing::Refused => (),
                }
            }
            done.sort();
            for (count, moment) in (1_i64..).zip(done) {
                let time = moment.duration_since(at(0)).as_secs();
                let allowed = i64::from(allowance.at_once) + time / allowance.every.as_secs();
                prop_assert!(count <= allowed, "{count} done by {time} s, {allowed} allowed");
            }
        }

        #[test]
        fn every_wait_ends_and_no_bucket_grows(
            allowance in allowance(),
            moments in prop::collection::vec(-100_000..100_000_i64, 1..100),
        ) {
            let mut bucket = Bucket::new(at(0));
            for moment in moments {
                let now = at(moment);
                let (next, standing) = step(bucket, now, 1, &allowance);
                prop_assert_eq!(next.seen, now);
                prop_assert!(next.backlog <= LONGEST_BACKLOG && !next.backlog.is_negative());
                if let Excess::Block { above, .. } = allowance.excess {
                    let most = allowance.every.saturating_mul(factor(above.saturating_add(1)));
                    prop_assert!(next.backlog <= most);
                }
                if let Standing::Deferred { until, .. } | Standing::Blocked { until, .. } = standing {
                    prop_assert!(until >= now);
                    let later = next.at(until);
                    prop_assert!(later.blocked_until().is_none());
                    prop_assert!(next.at(after(until, LONGEST_BACKLOG)).is_idle());
                }
                bucket = next;
            }
        }

        #[test]
        fn looking_changes_nothing(backlog in 0..10_000_i64, left in 1..10_000_i64, first in 0..20_000_i64, then in 0..20_000_i64) {
            for stage in [Stage::Open, Stage::Deferring, Stage::Blocked { left: SignedDuration::from_secs(left) }] {
                let bucket = Bucket { seen: at(0), backlog: SignedDuration::from_secs(backlog), stage };
                let once = bucket.at(at(first + then));
                let twice = bucket.at(at(first)).at(at(first + then));
                prop_assert_eq!(once, twice);
            }
        }
    }
}
