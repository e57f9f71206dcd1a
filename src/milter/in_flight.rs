//! Counts the messages between MAIL and end-of-message, so that a shutdown
//! can wait for them: indymilter drops commands that are still queued.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// The count, shared by all sessions.
#[derive(Clone)]
pub struct InFlight(Arc<watch::Sender<usize>>);

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

/// One message on its way; counted until it is dropped.
pub struct InFlightMessage(InFlight);

impl InFlight {
    /// Counts one more message.
    pub fn begin(&self) -> InFlightMessage {
        self.0.send_modify(|count| *count += 1);
        InFlightMessage(self.clone())
    }

    /// Waits until no message is on its way, at most for `limit`; says how
    /// many are left.
    pub async fn drained(&self, limit: Duration) -> usize {
        let mut count = self.0.subscribe();
        match timeout(limit, count.wait_for(|count| *count == 0)).await {
            Ok(_) => 0,
            Err(_) => *self.0.borrow(),
        }
    }
}

impl Drop for InFlightMessage {
    fn drop(&mut self) {
        self.0
            .0
            .send_modify(|count| *count = count.saturating_sub(1));
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
}
