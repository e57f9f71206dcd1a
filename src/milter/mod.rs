//! The milter that Postfix talks to: takes mail for the gateway onto disk and
//! leaves all other mail alone. Knows the policy and the store, and no
//! service: what a request asks for is no matter here.

mod answer;
mod callbacks;
mod decision;
mod in_flight;
mod intake;
mod listener;
mod macro_limit;
mod recipients;
mod sender;
mod session;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use tokio::sync::watch;

pub use self::{
    answer::{Answer, SmtpReply},
    in_flight::InFlight,
    listener::MilterSocket,
    session::{Gateway, Rules, Session},
};
use self::{callbacks::callbacks, listener::PatientListener};

/// How long a shutdown waits for messages between MAIL and end-of-message.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// indymilter's own time limit for a connection, as libmilter has it: Postfix
/// keeps a connection open as long as its client's session.
const CONNECTION_TIME: Duration = Duration::from_secs(7210);

/// Serves milter sessions on `socket` until `stop` turns true; then takes no
/// new session, waits for the messages on their way, unless `hurry` turns true
/// too, and ends.
///
/// # Errors
/// None in practice: failed accepts are waited out.
pub async fn serve(
    gateway: Arc<Gateway>,
    socket: MilterSocket,
    max_connections: usize,
    mut stop: watch::Receiver<bool>,
    mut hurry: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = PatientListener::new(socket, stop.clone());
    let config = indymilter::Config {
        max_connections,
        connection_timeout: CONNECTION_TIME,
        ..Default::default()
    };
    let in_flight = gateway.in_flight.clone();
    let drained = async move {
        // A sender that is gone can't want anything else than an end.
        let _ = stop.wait_for(|stop| *stop).await;
        let left = tokio::select! {
            left = in_flight.drained(DRAIN_TIME) => left,
            _ = hurry.wait_for(|hurry| *hurry) => in_flight.count(),
        };
        if left > 0 {
            tracing::warn!(
                left,
                "messages still on their way; Postfix will offer them again"
            );
        }
    };
    indymilter::run(listener, callbacks(&gateway), config, drained).await
}
