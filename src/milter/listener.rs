//! Accepts Postfix's connections and never gives up: a failed accept is
//! waited out, and a connection that doesn't open the milter protocol in time
//! is closed. Knows sockets, and nothing of mail.

use std::{
    fs::{Permissions, set_permissions},
    future::Future,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use indymilter::{EitherListener, EitherStream, Listener};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    time::{Sleep, sleep},
};

use super::macro_limit::MacroLimit;
use crate::{config::ListenAddress, faults};

/// Pause after a failed accept: long enough to let file descriptors be freed,
/// short enough for Postfix, which waits in the backlog meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Time in which a connection must have negotiated.
const NEGOTIATION_TIME: Duration = Duration::from_secs(10);

/// Whoever connects must be able to write: Postfix's smtpd is another user, of
/// the group that the socket's directory passes on (set-group-ID, mode 2750).
const UNIX_MODE: u32 = 0o660;

/// Either kind of socket that Postfix speaks milter over.
type Socket = EitherListener<TcpListener, UnixListener>;
/// A connection on either.
pub(super) type SocketStream = EitherStream<TcpStream, UnixStream>;

/// A bound socket, and what must be taken away when it closes.
pub struct MilterSocket {
    socket: Socket,
    unix_path: Option<PathBuf>,
}

impl MilterSocket {
    /// Binds the configured address.
    ///
    /// A Unix socket left behind by a gateway that is gone is replaced; one
    /// that still answers is not. Owner and group may connect.
    ///
    /// # Errors
    /// As the operating system tells, an address in use foremost.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
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

/// The listener that indymilter is given. `indymilter::run` ends with the
/// first accept error it sees, so it sees none.
pub(super) struct PatientListener<L> {
    state: State<L>,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
}

enum State<L> {
    Open(L, Option<Pin<Box<Sleep>>>),
    Closed,
}

impl<L> PatientListener<L> {
    /// Accepts on `listener` until `closing` turns true; it is closed then,
    /// while sessions go on.
    pub(super) fn new(listener: L, mut closing: watch::Receiver<bool>) -> Self {
        Self {
            state: State::Open(listener, None),
            closing: Box::pin(async move {
                // A sender that is gone can't want anything else than an end.
                let _ = closing.wait_for(|closing| *closing).await;
            }),
        }
    }
}

impl<L: Listener> Listener for PatientListener<L> {
    type Io = NegotiatedInTime<MacroLimit<L::Io>>;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Io>> {
        let State::Open(listener, pause) = &mut self.state else {
            return Poll::Pending;
        };
        if self.closing.as_mut().poll(cx).is_ready() {
            self.state = State::Closed;
            return Poll::Pending;
        }
        loop {
            if let Some(sleep) = pause {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                *pause = None;
            }
            match listener.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(stream)) => {
                    let stream = NegotiatedInTime::new(MacroLimit::new(stream));
                    return Poll::Ready(Ok(stream));
                }
                Poll::Ready(Err(error)) => {
                    tracing::error!(%error, "can't accept a milter connection; trying again");
                    *pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

/// A connection that fails to read once its time to negotiate is over. The
/// first bytes that we write are our answer to the negotiation.
pub(super) struct NegotiatedInTime<S> {
    stream: S,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> NegotiatedInTime<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            deadline: Some(Box::pin(sleep(NEGOTIATION_TIME))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NegotiatedInTime<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)));
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NegotiatedInTime<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.deadline = None;
        faults::answering();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(_)) = written {
            faults::answered();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::{Instant, timeout},
    };

    use super::*;

    /// Fails as a process without a free file descriptor does, then accepts.
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
    async fn failed_accepts_are_waited_out() {
        let (_stop, closing) = watch::channel(false);
        let mut listener = PatientListener::new(Exhausted { failures: 3 }, closing);
        let begin = Instant::now();
        assert!(listener.accept().await.is_ok());
        assert!(begin.elapsed() >= 3 * ACCEPT_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_listener_accepts_nothing() {
        let (stop, closing) = watch::channel(false);
        let mut listener = PatientListener::new(Exhausted { failures: 0 }, closing);
        stop.send_replace(true);
        assert!(
            timeout(Duration::from_secs(60), listener.accept())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed() {
        let (ours, _theirs) = duplex(64);
        let mut connection = NegotiatedInTime::new(ours);
        let begin = Instant::now();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed(), NEGOTIATION_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_negotiation_is_none() {
        let (ours, mut theirs) = duplex(64);
        let mut connection = NegotiatedInTime::new(ours);
        theirs.write_all(&[0, 0, 0]).await.unwrap();
        let error = connection.read_u32().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn once_negotiated_a_connection_may_be_idle() {
        let (ours, _theirs) = duplex(64);
        let mut connection = NegotiatedInTime::new(ours);
        connection.write_all(b"answer").await.unwrap();
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, connection.read_u8()).await.is_err());
    }
}
