//! Counts the messages between MAIL and end-of-message, so that a shutdown can wait
//! for them. indymilter would drop their queued commands.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// The count of messages, shared by all sessions.
#[derive(Clone)]
pub struct InFlight(Arc<watch::Sender<State>>);

#[derive(Default)]
struct State {
    count: usize,
    /// A shutdown has begun: it does not wait for messages that begin now.
    is_draining: bool,
}

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

/// A message between MAIL and end-of-message. It counts until it is dropped.
pub(crate) struct InFlightMessage(Option<InFlight>);

impl InFlight {
    /// Counts one more message.
    pub(crate) fn begin(&self) -> InFlightMessage {
        let mut is_counted = false;
        self.0.send_modify(|state| {
            is_counted = !state.is_draining;
            state.count += usize::from(is_counted);
        });
        InFlightMessage(is_counted.then(|| self.clone()))
    }

    /// The number of messages that have begun and not ended.
    pub fn count(&self) -> usize {
        self.0.borrow().count
    }

    /// Waits, at most for `limit`, until the messages that have begun by now have
    /// ended. Returns the number of those left. Later messages don't count: a session
    /// that sends message after message would prolong the wait.
    pub(crate) async fn drained(&self, limit: Duration) -> usize {
        self.0.send_modify(|state| state.is_draining = true);
        let mut state = self.0.subscribe();
        match timeout(limit, state.wait_for(|state| state.count == 0)).await {
            Ok(_) => 0,
            Err(_) => self.count(),
        }
    }
}

impl Drop for InFlightMessage {
    fn drop(&mut self) {
        if let Some(InFlight(state)) = &self.0 {
            state.send_modify(|state| state.count = state.count.saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_last_message_and_no_longer_than_told() {
        let in_flight = InFlight::default();
        let first = in_flight.begin();
        let second = in_flight.begin();
        drop(first);
        assert_eq!(in_flight.drained(Duration::from_secs(20)).await, 1);
        drop(second);
        assert_eq!(in_flight.drained(Duration::from_secs(20)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_begins_later_is_not_waited_for() {
        let in_flight = InFlight::default();
        let limit = Duration::from_secs(20);
        assert_eq!(in_flight.drained(limit).await, 0);
        let later = in_flight.begin();
        assert_eq!(in_flight.drained(limit).await, 0);
        drop(later);
        assert_eq!(in_flight.count(), 0);
    }
}
