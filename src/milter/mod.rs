//! The milter that Postfix talks to: writes mail for the gateway to disk and leaves
//! all other mail alone. Knows the policy and the store, and no service: the content
//! of a request does not matter here.

mod answer;
mod callbacks;
mod connections;
mod content;
mod decision;
mod in_flight;
mod intake;
mod listener;
mod memory;
mod packets;
mod recipients;
mod sender;
mod session;
mod strain;
mod stream;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::interval,
};

pub use self::answer::{Answer, SmtpReply};
pub(crate) use self::connections::Connections;
pub use self::in_flight::InFlight;
pub(crate) use self::listener::MilterSocket;
pub use self::memory::Memory;
pub use self::session::{Gateway, Rules, Session};
use self::{
    callbacks::callbacks,
    connections::Connection,
    listener::{OneConnection, SocketStream, accept_patiently},
    packets::Packets,
    stream::Watched,
};

/// How long a shutdown waits for messages between MAIL and end-of-message.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// indymilter's time limit for a connection, the same as libmilter's: Postfix keeps a
/// connection open as long as its client's session.
const CONNECTION_TIME: Duration = Duration::from_secs(7210);

/// Time between two checks whether memory is short.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves milter sessions on `socket` until `stop` turns true. Then takes no new
/// session and waits for the messages that have begun, unless `hurry` turns true too.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    socket: MilterSocket,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
    mut hurry: watch::Receiver<bool>,
) {
    let ending = watch::Sender::new(false);
    tokio::select! {
        () = take_all(socket, &gateway, &connections, &ending) => {}
        () = free_memory(&gateway.memory, &connections) => {}
        // A sender that is gone means the same as `true`.
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let left = tokio::select! {
        left = gateway.in_flight.drained(DRAIN_TIME) => left,
        _ = hurry.wait_for(|hurry| *hurry) => gateway.in_flight.count(),
    };
    if left > 0 {
        tracing::warn!(
            left,
            "messages not finished; Postfix delivers them again later"
        );
    }
    ending.send_replace(true);
    connections.all_gone().await;
}

/// Accepts connections for ever. Dropping this closes the socket, while the sessions
/// go on.
async fn take_all(
    mut socket: MilterSocket,
    gateway: &Arc<Gateway>,
    connections: &Arc<Connections>,
    ending: &watch::Sender<bool>,
) {
    loop {
        let stream = accept_patiently(&mut socket, connections).await;
        let (connection, end) = connections.admit().await;
        let gateway = gateway.clone();
        tokio::spawn(attend(
            gateway,
            stream,
            Arc::new(connection),
            end,
            ending.subscribe(),
        ));
    }
}

/// Ends, for ever, connections that stand still while memory is short.
async fn free_memory(memory: &Memory, connections: &Connections) {
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        if memory.is_short() {
            connections.end_standing_still();
        }
    }
}

/// Serves one connection to its end. Each connection has an indymilter of its own, so
/// that callbacks know their connection: indymilter itself neither counts connections
/// nor ends a single one.
async fn attend(
    gateway: Arc<Gateway>,
    stream: SocketStream,
    connection: Arc<Connection>,
    end: oneshot::Receiver<()>,
    mut ending: watch::Receiver<bool>,
) {
    let config = indymilter::Config {
        max_connections: 1,
        connection_timeout: CONNECTION_TIME,
        ..Default::default()
    };
    let memory = gateway.memory.clone();
    let callbacks = callbacks(gateway, &connection);
    let stream = Watched::new(stream, connection.clone(), end);
    let stream = Packets::new(stream, connection.clone(), memory);
    let (listener, session_end) = OneConnection::new(stream);
    let shutdown = async {
        tokio::select! {
            _ = session_end => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
    };
    if let Err(error) = indymilter::run(listener, callbacks, config, shutdown).await {
        tracing::error!(%error, "a milter connection failed; this is a fault of the gateway");
    }
    // Otherwise indymilter would read from the stream for hours after a shutdown.
    connection.close();
}
