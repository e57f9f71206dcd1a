//! The signals that a running gateway heeds.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::GatewayError;

/// The signals that are heeded.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) hangup: Signal,
}

impl Signals {
    /// From now on none of them kills.
    pub(super) fn listen() -> Result<Self, GatewayError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| GatewayError::other(format!("can't take signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits until somebody asks for the end.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
