//! The stream of a milter connection. It reports the arrival of bytes, and ends if the
//! peer doesn't negotiate in time or another connection needs the place. Knows nothing
//! about the bytes it carries.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::{Sleep, sleep},
};

use super::connections::Connection;
use crate::faults;

/// Time within which a connection must negotiate.
const NEGOTIATION_TIME: Duration = Duration::from_secs(10);

/// A stream that fails to read once it must end, or once its time to negotiate is over.
/// The first bytes that the gateway writes are its answer to the negotiation.
pub(super) struct Watched<S> {
    stream: S,
    connection: Arc<Connection>,
    /// None once it has got a value.
    end: Option<oneshot::Receiver<()>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// `stream` belongs to `connection`. It ends when `end` gets a value.
    pub(super) fn new(stream: S, connection: Arc<Connection>, end: oneshot::Receiver<()>) -> Self {
        Self {
            stream,
            connection,
            end: Some(end),
            deadline: Some(Box::pin(sleep(NEGOTIATION_TIME))),
        }
    }

    /// Ready with the reason once nothing may be read any more.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::ErrorKind> {
        if let Some(end) = &mut self.end
            && Pin::new(end).poll(cx).is_ready()
        {
            self.end = None;
        }
        if self.end.is_none() {
            return Poll::Ready(io::ErrorKind::ConnectionAborted);
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut),
            None => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(kind) = this.poll_end(cx) {
            return Poll::Ready(Err(io::Error::from(kind)));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            this.connection.moved();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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
    #![allow(clippy::unwrap_used)]

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::{Instant, timeout},
    };

    use super::{super::connections::Connections, *};

    const HOUR: Duration = Duration::from_secs(3600);

    struct Pair {
        connections: Arc<Connections>,
        ours: Watched<DuplexStream>,
        theirs: DuplexStream,
    }

    async fn connected() -> Pair {
        let connections = Arc::new(Connections::new(9));
        let (connection, end) = connections.admit().await;
        let (ours, theirs) = duplex(64);
        Pair {
            connections,
            ours: Watched::new(ours, Arc::new(connection), end),
            theirs,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed() {
        let mut pair = connected().await;
        let begin = Instant::now();
        let error = pair.ours.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed(), NEGOTIATION_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_negotiation_is_none() {
        let mut pair = connected().await;
        pair.theirs.write_all(&[0, 0, 0]).await.unwrap();
        let error = pair.ours.read_u32().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn once_negotiated_a_connection_may_be_idle_until_it_is_ended() {
        let mut pair = connected().await;
        pair.ours.write_all(b"answer").await.unwrap();
        assert!(timeout(HOUR, pair.ours.read_u8()).await.is_err());
        assert!(pair.connections.make_room());
        let error = timeout(HOUR, pair.ours.read_u8())
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_bytes_hears_of_the_end() {
        let Pair {
            connections,
            mut ours,
            theirs: _theirs,
        } = connected().await;
        ours.write_all(b"answer").await.unwrap();
        let reading = tokio::spawn(async move { ours.read_u8().await });
        tokio::task::yield_now().await;
        assert!(connections.make_room());
        let error = timeout(HOUR, reading).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
