//! Wakes the worker's tasks when something falls due: as many of them as there
//! is work, since each that wakes in vain costs a transaction. Knows neither
//! what the work is nor who does it.

use tokio::sync::Notify;

/// How many to wake where it can't be told what is due: all, but for a worker of
/// very many tasks, and those look by themselves within seconds.
const ALL: usize = 64;

/// Where the worker's tasks wait for work. An arrival that nobody waits for is
/// kept for whoever waits next, so that none is missed between a look and a sleep.
#[derive(Debug, Default)]
pub struct Arrivals {
    requests: Notify,
    deliveries: Notify,
}

/// What a change has made due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) requests: usize,
    pub(super) deliveries: usize,
}

impl Due {
    /// Whatever waits may be due.
    pub(super) const ANYTHING: Self = Self {
        requests: ALL,
        deliveries: ALL,
    };
}

impl Arrivals {
    /// Ends when a request may be due.
    pub async fn request(&self) {
        self.requests.notified().await;
    }

    /// Ends when a delivery may be due.
    pub async fn delivery(&self) {
        self.deliveries.notified().await;
    }

    pub(super) fn tell(&self, due: Due) {
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
        arrivals.tell(Due {
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
        arrivals.tell(Due::ANYTHING);
        assert!(arrivals.delivery().now_or_never().is_some());
        assert!(arrivals.delivery().now_or_never().is_none());
    }
}
