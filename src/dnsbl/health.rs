//! The health of a zone (RFC 5782 5). A zone that lists 127.0.0.1 lists
//! everybody, as happens when its domain has lapsed. A zone that does not list
//! 127.0.0.2 lists nobody. Both are switched off until they are well.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A zone that was well counts as well for this time.
const WELL_FOR: Duration = Duration::from_secs(60 * 60);

/// The state of a zone's health.
pub(super) struct Health {
    state: Mutex<State>,
    recheck: Duration,
}

#[derive(Clone)]
enum State {
    /// The zone has not been tested, or must be tested again.
    Unknown,
    Well {
        until: Instant,
    },
    Sick {
        reason: String,
        until: Instant,
    },
}

/// The state that a look-up finds.
pub(super) enum Checkup {
    /// The zone was well at its last test.
    Well,
    /// The zone is switched off, for this reason.
    SwitchedOff(String),
    /// The zone must be tested.
    Due,
}

impl Health {
    /// The unknown health of a zone. `recheck` is the time until a switched-off
    /// zone is tested again.
    pub(super) fn new(recheck: Duration) -> Self {
        Self {
            state: Mutex::new(State::Unknown),
            recheck,
        }
    }

    pub(super) fn checkup(&self, now: Instant) -> Checkup {
        match &*self.state() {
            State::Well { until } if now < *until => Checkup::Well,
            State::Sick { reason, until } if now < *until => Checkup::SwitchedOff(reason.clone()),
            State::Unknown | State::Well { .. } | State::Sick { .. } => Checkup::Due,
        }
    }

    /// Records the result of a test: well, or the reason why not. Returns true
    /// if the zone becomes sick or is well again.
    pub(super) fn note(&self, found: Result<(), String>, now: Instant) -> bool {
        let mut state = self.state();
        let was_sick = matches!(*state, State::Sick { .. });
        let is_well = found.is_ok();
        *state = match found {
            Ok(()) => State::Well {
                until: now + WELL_FOR,
            },
            Err(reason) => State::Sick {
                reason,
                until: now + self.recheck,
            },
        };
        is_well == was_sick
    }

    /// The zone failed to answer, so the next look-up tests it first.
    pub(super) fn doubt(&self) {
        let mut state = self.state();
        if let State::Well { .. } = *state {
            *state = State::Unknown;
        }
    }

    /// Ignores the poison of a panic elsewhere, as any state is valid.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECHECK: Duration = Duration::from_secs(60);

    fn sick() -> Result<(), String> {
        Err("it lists 127.0.0.1".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_sick_zone_is_off_until_it_is_seen_again() {
        let health = Health::new(RECHECK);
        let now = Instant::now();
        assert!(matches!(health.checkup(now), Checkup::Due));
        assert!(health.note(sick(), now));
        assert!(
            matches!(health.checkup(now), Checkup::SwitchedOff(reason) if reason.contains("127.0.0.1"))
        );
        assert!(matches!(health.checkup(now + RECHECK), Checkup::Due));
        assert!(!health.note(sick(), now + RECHECK), "no news");
        assert!(health.note(Ok(()), now + RECHECK * 2));
        assert!(matches!(health.checkup(now + RECHECK * 2), Checkup::Well));
        assert!(!health.note(Ok(()), now + WELL_FOR * 2), "no news");
    }

    #[tokio::test(start_paused = true)]
    async fn a_zone_that_was_well_is_seen_again_after_a_while_or_a_failure() {
        let health = Health::new(RECHECK);
        let now = Instant::now();
        assert!(!health.note(Ok(()), now), "a zone that is well is no news");
        assert!(matches!(health.checkup(now + WELL_FOR), Checkup::Due));
        health.doubt();
        assert!(matches!(health.checkup(now), Checkup::Due));
        health.note(sick(), now);
        health.doubt();
        assert!(matches!(health.checkup(now), Checkup::SwitchedOff(_)));
    }
}
