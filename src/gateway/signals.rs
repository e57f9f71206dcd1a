//! The signals that a running gateway handles.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::GatewayError;

pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) hangup: Signal,
}

impl Signals {
    /// After this call these signals no longer kill the process.
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

    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
