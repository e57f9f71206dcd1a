//! The state that all tasks share, and the interface of a task. Does not know what a task does.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    answering::Answering,
    holding::InWork,
    injection::InjectionSettings,
    retry::{Retry, Times},
};
use crate::{
    config::Period,
    store::{Arrivals, First, Leasing, Store, StoreError},
    time::{Clock as _, WatchedClock},
};

/// Pause after store trouble.
pub(super) const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// The settings and handles that all tasks share.
pub(crate) struct Worker {
    /// The store with the spool.
    pub(crate) store: Arc<Store>,
    /// The clock for leases and retries.
    pub(crate) clock: Arc<WatchedClock>,
    /// Makes completions; replaced when the configuration is.
    pub(crate) answering: watch::Receiver<Arc<Answering>>,
    /// The port for replies; replaced when the configuration is.
    pub(crate) delivering: watch::Receiver<InjectionSettings>,
    /// The time after which a lease ends unless it is renewed.
    pub(crate) lease: Period,
    /// The rules for repeating failed attempts.
    pub(crate) retry: Retry,
}

/// Whether a task found work.
pub(super) enum Found {
    Work,
    Nothing,
}

/// One of the two kinds of task.
#[async_trait]
pub(super) trait Task: Send {
    /// Waits until there may be something to do.
    async fn arrival(&self, arrivals: &Arrivals);

    /// The time at which work is due, if none arrives before.
    async fn next_due(&self, worker: &Worker) -> Result<Option<Timestamp>, StoreError>;

    /// Leases one piece of work and does it.
    async fn step(&mut self, worker: &Worker) -> Result<Found, StoreError>;

    /// Releases what is only needed for work, as there is none.
    async fn rest(&mut self);
}

impl Worker {
    pub(super) fn leasing<T>(&self, in_work: &InWork<T>, first: First) -> Leasing<T> {
        Leasing {
            first,
            in_work: in_work.tokens(),
            ..Leasing::alone(self.clock.now(), self.lease.as_signed())
        }
    }

    /// The times of an attempt that has failed now.
    pub(super) fn times(&self, asked: Timestamp, since: Timestamp) -> Times {
        Times {
            asked,
            since,
            now: self.clock.now(),
            given_up_before: self.clock.surely_before(self.retry.give_up.as_signed()),
        }
    }
}

/// A number for spreading retries: the microseconds of the present second.
pub(super) fn jitter(now: Timestamp) -> u64 {
    u64::from(now.subsec_nanosecond().unsigned_abs()) / 1000
}
