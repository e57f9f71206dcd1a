//! Accepts Postfix's connections and never gives up. Knows sockets, and nothing
//! about mail.

use std::{
    fs::{Permissions, set_permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    task::{Context, Poll},
    time::Duration,
};

use indymilter::{EitherListener, EitherStream, Listener};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::oneshot,
    time::sleep,
};

use super::connections::Connections;
use crate::config::ListenAddress;

/// Pause after a failed accept: long enough for file descriptors to be freed, and
/// short enough for Postfix, which waits in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Failed accepts in a row, within little more than a second, before a connection is
/// ended. By then the connections that have not negotiated are known.
const FAILURES_BORNE: u32 = 6;

/// Failed accepts for each log line: a line a minute.
const FAILURES_A_LINE: u32 = 300;

/// A client needs write permission to connect. Postfix's smtpd is another user, in
/// the group that the socket's directory passes on (set-group-ID, mode 2750).
const UNIX_MODE: u32 = 0o660;

/// A TCP port or a Unix socket.
type Socket = EitherListener<TcpListener, UnixListener>;
/// A connection to a [`Socket`].
pub(super) type SocketStream = EitherStream<TcpStream, UnixStream>;

/// A bound socket. A Unix socket's file is removed when this is dropped.
pub(crate) struct MilterSocket {
    socket: Socket,
    unix_path: Option<PathBuf>,
}

impl MilterSocket {
    /// Binds the configured address.
    ///
    /// A Unix socket that a dead gateway left behind is replaced. One that still
    /// answers is not. Owner and group may connect.
    ///
    /// # Errors
    /// The operating system's, most often that the address is in use.
    pub(crate) async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Inet(address) => Ok(Self {
                socket: EitherListener::Tcp(TcpListener::bind(address).await?),
                unix_path: None,
            }),
            ListenAddress::Unix(path) => {
                remove_dead_socket(path).await?;
                let socket = Self {
                    socket: EitherListener::Unix(UnixListener::bind(path)?),
                    unix_path: Some(path.clone()),
                };
                set_permissions(path, Permissions::from_mode(UNIX_MODE))?;
                Ok(socket)
            }
        }
    }
}

impl Listener for MilterSocket {
    type Io = SocketStream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Io>> {
        let accepted = self.socket.poll_accept(cx);
        if let Poll::Ready(Ok(EitherStream::Tcp(stream))) = &accepted
            && let Err(error) = stream.set_nodelay(true)
        {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        accepted
    }
}

impl Drop for MilterSocket {
    fn drop(&mut self) {
        if let Some(path) = &self.unix_path
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "socket file not removed");
        }
    }
}

async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(_) => Ok(()),
    }
}

/// Accepts the next connection, and tries again after a failure. Most failures are a
/// lack of file descriptors. If they last, connections are ended to free some.
pub(super) async fn accept_patiently<L: Listener>(
    listener: &mut L,
    connections: &Connections,
) -> L::Io {
    let mut failures: u32 = 0;
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(error) if failures.is_multiple_of(FAILURES_A_LINE) => {
                tracing::error!(%error, "can't accept a milter connection; trying again");
            }
            Err(_) => {}
        }
        failures = failures.wrapping_add(1);
        if failures > FAILURES_BORNE {
            connections.make_room();
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

/// A listener with one connection, for one `indymilter::run`. indymilter asks for a
/// second connection when the session of the first has ended, and gets none.
pub(super) struct OneConnection<S> {
    stream: Option<S>,
    has_ended: Option<oneshot::Sender<()>>,
}

impl<S> OneConnection<S> {
    /// Serves `stream`. The receiver gets a value when its session has ended.
    pub(super) fn new(stream: S) -> (Self, oneshot::Receiver<()>) {
        let (has_ended, end) = oneshot::channel();
        let connection = Self {
            stream: Some(stream),
            has_ended: Some(has_ended),
        };
        (connection, end)
    }
}

impl<S> Listener for OneConnection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Io = S;

    fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<S>> {
        if let Some(stream) = self.stream.take() {
            return Poll::Ready(Ok(stream));
        }
        if let Some(has_ended) = self.has_ended.take() {
            // The receiver may be gone: the run is ending anyway then.
            let _ = has_ended.send(());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use tokio::{
        io::{DuplexStream, duplex},
        time::Instant,
    };

    use super::*;

    /// Fails like a process without a free file descriptor, then accepts.
    struct Exhausted {
        failures: usize,
    }

    impl Listener for Exhausted {
        type Io = DuplexStream;

        fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Self::Io>> {
            Poll::Ready(match self.failures {
                0 => Ok(duplex(64).0),
                _ => {
                    self.failures -= 1;
                    Err(io::Error::other("too many open files"))
                }
            })
        }
    }

    #[tokio::test]
    async fn the_group_may_connect_to_a_unix_socket_and_others_may_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("milter");
        let socket = MilterSocket::bind(&ListenAddress::Unix(path.clone())).await;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn failed_accepts_are_waited_out_and_connections_ended_where_it_lasts() {
        let connections = Arc::new(Connections::new(9));
        let (_idle, mut end) = connections.admit().await;
        let begin = Instant::now();
        accept_patiently(&mut Exhausted { failures: 6 }, &connections).await;
        assert!(begin.elapsed() >= 6 * ACCEPT_PAUSE);
        assert!(end.try_recv().is_err());
        accept_patiently(&mut Exhausted { failures: 7 }, &connections).await;
        assert!(end.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_session_ends_its_run() {
        let (ours, theirs) = duplex(64);
        let (listener, end) = OneConnection::new(ours);
        let config = indymilter::Config {
            max_connections: 1,
            ..Default::default()
        };
        let run = indymilter::run(listener, indymilter::Callbacks::<()>::new(), config, end);
        let run = tokio::spawn(run);
        sleep(Duration::from_secs(60)).await;
        assert!(!run.is_finished());
        drop(theirs);
        run.await.unwrap().unwrap();
    }
}
