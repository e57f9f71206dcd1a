//! Counts the messages between MAIL and end-of-message, so that a shutdown
//! can wait for them: indymilter drops commands that are still queued.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// The count, shared by all sessions.
#[derive(Clone)]
pub struct InFlight(Arc<watch::Sender<State>>);

#[derive(Default)]
struct State {
    count: usize,
    /// Nobody waits for messages that begin now.
    is_draining: bool,
}

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

/// One message on its way; counted until it is dropped.
pub struct InFlightMessage(Option<InFlight>);

impl InFlight {
    /// Counts one more message.
    pub fn begin(&self) -> InFlightMessage {
        let mut is_counted = false;
        self.0.send_modify(|state| {
            is_counted = !state.is_draining;
            state.count += usize::from(is_counted);
        });
        InFlightMessage(is_counted.then(|| self.clone()))
    }

    /// How many are on their way.
    pub fn count(&self) -> usize {
        self.0.borrow().count
    }

    /// Waits until no message is on its way of those that have begun by now, at
    /// most for `limit`; says how many are left. A session that sends one
    /// message after the other would keep it waiting otherwise.
    pub async fn drained(&self, limit: Duration) -> usize {
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
