//! Wakes the worker's tasks when something falls due. It wakes as many as there is work, since a
//! task that wakes in vain costs a transaction.

use tokio::sync::Notify;

/// How many tasks to wake when it is unknown what is due. A worker with more tasks than this is
/// still fine: each task looks by itself every few seconds.
const ALL: usize = 64;

/// The place where the worker's tasks wait for work. An arrival with no task waiting is kept for
/// the next one, so that none is missed between a look and a sleep.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    requests: Notify,
    deliveries: Notify,
}

/// How much a change has made due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) requests: usize,
    pub(crate) deliveries: usize,
}

impl Due {
    /// Anything that waits may be due.
    pub(crate) const ANYTHING: Self = Self {
        requests: ALL,
        deliveries: ALL,
    };
}

impl Arrivals {
    /// Ends when a request may be due.
    pub(crate) async fn request(&self) {
        self.requests.notified().await;
    }

    /// Ends when a delivery may be due.
    pub(crate) async fn delivery(&self) {
        self.deliveries.notified().await;
    }

    pub(super) fn wake(&self, due: Due) {
        (0..due.requests).for_each(|_| self.requests.notify_one());
        (0..due.deliveries).for_each(|_| self.deliveries.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn as_many_are_woken_as_there_is_work() {
        let arrivals = Arrivals::default();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(arrivals.request())).collect();
        for task in &mut waiting {
            assert!(task.as_mut().now_or_never().is_none());
        }
        arrivals.wake(Due {
            requests: 2,
            deliveries: 1,
        });
        let woken = waiting
            .iter_mut()
            .filter_map(|task| task.as_mut().now_or_never());
        assert_eq!(woken.count(), 2);
    }

    #[tokio::test]
    async fn what_arrives_while_nobody_waits_is_not_missed() {
        let arrivals = Arrivals::default();
        arrivals.wake(Due::ANYTHING);
        assert!(arrivals.delivery().now_or_never().is_some());
        assert!(arrivals.delivery().now_or_never().is_none());
    }
}
