//! Whether a zone can be believed (RFC 5782 5): one that lists 127.0.0.1 lists
//! everybody, as a zone does whose domain has lapsed, and one that does not
//! list 127.0.0.2 lists nobody. Such a zone is switched off until it is well.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a zone that was well is taken to be so.
const WELL_FOR: Duration = Duration::from_secs(60 * 60);

/// What is known of a zone's health.
pub(super) struct Health {
    state: Mutex<State>,
    recheck: Duration,
}

#[derive(Clone)]
enum State {
    /// Nobody has looked yet, or there is a reason to look again.
    Unknown,
    Well {
        until: Instant,
    },
    Sick {
        reason: String,
        until: Instant,
    },
}

/// What a look at a zone has to begin with.
pub(super) enum Checkup {
    /// It was well a while ago.
    Well,
    /// It is switched off, for that reason.
    SwitchedOff(String),
    /// It is to be seen.
    Due,
}

impl Health {
    /// Of a zone that is tried again after `recheck` when it was switched off.
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

    /// Notes what the zone was found to be: well, or why not. Says whether that is news.
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

    /// The zone failed to answer: the next one who asks looks first.
    pub(super) fn doubt(&self) {
        let mut state = self.state();
        if let State::Well { .. } = *state {
            *state = State::Unknown;
        }
    }

    /// A panic elsewhere leaves a state that is as good as any.
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
