//! The state that all tasks share, and the interface of a task. Does not know what a task does.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{
    answering::Answering,
    holding::InWork,
    injection::InjectionSettings,
    retry::{Retry, Times},
};
use crate::{
    config::Period,
    store::{First, Idle, Leasing, Looked, Store, StoreError},
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

/// One of the two kinds of task.
#[async_trait]
pub(super) trait Task: Send {
    /// One piece of its work, leased.
    type Work: Send;

    /// Leases work that is due.
    async fn look(&mut self, worker: &Worker) -> Result<Looked<Self::Work>, StoreError>;

    /// Waits for work that falls due after `since`, until `until` ends. Returns none if there is
    /// reason to look again.
    async fn wait(
        &mut self,
        worker: &Worker,
        since: Idle,
        until: impl Future<Output = ()> + Send,
    ) -> Result<Option<Looked<Self::Work>>, StoreError>;

    /// Does it. If the task goes on, it may look for more in the transaction that ends it.
    async fn work(
        &mut self,
        worker: &Worker,
        work: Self::Work,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> Result<Option<Looked<Self::Work>>, StoreError>;

    /// Releases what is only needed for work, as there is none.
    async fn rest(&mut self);
}

/// The terms of the next lease, which depend on the moment.
pub(super) struct Terms<T> {
    clock: Arc<WatchedClock>,
    hold: SignedDuration,
    in_work: Arc<InWork<T>>,
    first: First,
}

impl<T> Terms<T> {
    pub(super) fn now(&self) -> Leasing<T> {
        Leasing {
            first: self.first,
            in_work: self.in_work.tokens(),
            ..Leasing::alone(self.clock.now(), self.hold)
        }
    }
}

impl Worker {
    pub(super) fn terms<T>(&self, in_work: &Arc<InWork<T>>, first: First) -> Terms<T> {
        Terms {
            clock: self.clock.clone(),
            hold: self.lease.as_signed(),
            in_work: in_work.clone(),
            first,
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
