//! Bounds the cost of a packet, because indymilter reads any length that the packet
//! announces. Ends a connection that sends more macros than any MTA does. Packets
//! larger than Postfix's wait for room. Knows how packets are framed, and nothing about
//! their content.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connections::Connection,
    memory::{Memory, Permit},
};

/// The longest packet of macros accepted. The longest macro that the gateway requests
/// is an address.
const MACRO_BYTES: u32 = 8 * 1024;

/// The most NUL octets accepted in a packet of macros, two for each definition.
/// indymilter keeps the macros of every stage, and a hundred bytes for the shortest.
const MACRO_STRINGS: u32 = 64;

/// The milter command SMFIC_MACRO, which defines macros.
const DEFINE_MACROS: u8 = b'D';

/// The largest packet that Postfix and libmilter send: a piece of the body.
const LARGEST_USUAL: u32 = 64 * 1024;

/// The position in the stream of packets.
#[derive(Debug)]
enum Place {
    /// `bytes_read` bytes of the length are read, with this value so far.
    Length { bytes_read: u8, length: u32 },
    /// The command comes next, in a packet of this length.
    Command { length: u32 },
    /// `left` bytes of payload are to come.
    Payload { left: u32, kind: Kind },
}

/// The kind of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Macros, with this many NUL octets so far.
    Macros(u32),
    /// Longer than [`LARGEST_USUAL`].
    Large,
    Usual,
}

const BEGIN: Place = Place::Length {
    bytes_read: 0,
    length: 0,
};

/// Follows the stream of packets.
#[derive(Debug)]
struct Walk {
    place: Place,
    /// The length of a large packet that has begun, until room is requested for it.
    begun: Option<u32>,
}

/// The macros exceed a limit.
#[derive(Debug)]
struct TooManyMacros;

impl Walk {
    fn new() -> Self {
        Self {
            place: BEGIN,
            begun: None,
        }
    }

    /// Advances over `bytes`.
    fn over(&mut self, mut bytes: &[u8]) -> Result<(), TooManyMacros> {
        while let Some((&first, rest)) = bytes.split_first() {
            (self.place, bytes) = match self.place {
                Place::Length { bytes_read, length } => (
                    after_length(bytes_read, length << 8 | u32::from(first)),
                    rest,
                ),
                Place::Command { length } => (self.after_command(first, length)?, rest),
                Place::Payload { left, kind } => {
                    let taken = bytes.len().min(left as usize);
                    let (payload, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, b""));
                    let left = left.saturating_sub(taken as u32);
                    (payload_of(left, kind.over(payload)?), rest)
                }
            };
        }
        Ok(())
    }

    fn after_command(&mut self, command: u8, length: u32) -> Result<Place, TooManyMacros> {
        let kind = match command {
            DEFINE_MACROS if length > MACRO_BYTES => return Err(TooManyMacros),
            DEFINE_MACROS => Kind::Macros(0),
            _ if length > LARGEST_USUAL => Kind::Large,
            _ => Kind::Usual,
        };
        if kind == Kind::Large {
            self.begun = Some(length);
        }
        // indymilter reads a command even where the length has no room for it.
        Ok(payload_of(length.saturating_sub(1), kind))
    }

    fn is_in_large(&self) -> bool {
        let large = Kind::Large;
        matches!(self.place, Place::Payload { kind, .. } if kind == large)
    }
}

fn after_length(bytes_read: u8, length: u32) -> Place {
    match bytes_read {
        3 => Place::Command { length },
        _ => Place::Length {
            bytes_read: bytes_read + 1,
            length,
        },
    }
}

fn payload_of(left: u32, kind: Kind) -> Place {
    match left {
        0 => BEGIN,
        left => Place::Payload { left, kind },
    }
}

impl Kind {
    fn over(self, payload: &[u8]) -> Result<Self, TooManyMacros> {
        let Self::Macros(ends) = self else {
            return Ok(self);
        };
        let more = payload.iter().filter(|&&octet| octet == 0).count();
        let ends = ends.saturating_add(more as u32);
        match ends > MACRO_STRINGS {
            true => Err(TooManyMacros),
            false => Ok(Self::Macros(ends)),
        }
    }
}

/// A connection with bounded packets.
pub(super) struct Packets<S> {
    stream: S,
    memory: Arc<Memory>,
    connection: Arc<Connection>,
    walk: Walk,
    room: Room,
}

/// Room for a large packet.
enum Room {
    NotNeeded,
    Awaited(Pin<Box<dyn Future<Output = Permit> + Send>>),
    /// Held until the session reads beyond the packet: it has handled the packet by then.
    Taken {
        _permit: Permit,
    },
}

impl<S> Packets<S> {
    /// `stream` belongs to `connection`.
    pub(super) fn new(stream: S, connection: Arc<Connection>, memory: Arc<Memory>) -> Self {
        Self {
            stream,
            memory,
            connection,
            walk: Walk::new(),
            room: Room::NotNeeded,
        }
    }

    /// Waits until there is room for the packet that has begun. The peer does not count
    /// as standing still meanwhile: it waits for the gateway.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.walk.is_in_large() {
            self.room = Room::NotNeeded;
        }
        if let Some(length) = self.walk.begun.take() {
            // The old room goes first: the connection must not wait for its own.
            self.room = Room::NotNeeded;
            let memory = self.memory.clone();
            self.room = Room::Awaited(Box::pin(async move { memory.packet(length).await }));
        }
        if let Room::Awaited(permit) = &mut self.room {
            let permit = permit.as_mut().poll(cx);
            self.connection.waits_for_us(permit.is_pending());
            let Poll::Ready(permit) = permit else {
                return Poll::Pending;
            };
            self.room = Room::Taken { _permit: permit };
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Packets<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.poll_room(cx).is_pending() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        if this.walk.over(read).is_ok() {
            return polled;
        }
        tracing::warn!(
            "milter connection ended: its macros are more than {MACRO_BYTES} bytes or more than {}; \
             check that only Postfix connects to the milter port",
            MACRO_STRINGS / 2
        );
        Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Packets<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
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

    use std::time::Duration;

    use futures_util::FutureExt;
    use proptest::prelude::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex},
        time::sleep,
    };

    use super::{super::connections::Connections, *};

    const MIB: usize = 1024 * 1024;

    fn packet(command: u8, payload: usize) -> Vec<u8> {
        let mut packet = (payload as u32 + 1).to_be_bytes().to_vec();
        packet.push(command);
        packet.resize(packet.len() + payload, b'D');
        packet
    }

    fn is_taken(pieces: &[&[u8]]) -> bool {
        let mut walk = Walk::new();
        pieces.iter().all(|piece| walk.over(piece).is_ok())
    }

    proptest! {
        #[test]
        fn only_long_macros_are_found_however_the_stream_is_cut(
            payloads in prop::collection::vec((prop::sample::select(b"DBLE".to_vec()), 0..100usize), 0..9),
            excess in prop::option::of(0..3usize),
            cut in 1..50usize,
        ) {
            let mut stream: Vec<u8> = payloads
                .iter()
                .flat_map(|&(command, payload)| packet(command, payload))
                .collect();
            // The longest allowed, then a length with no room for a command, then too long.
            stream.extend(packet(b'D', MACRO_BYTES as usize - 1));
            stream.extend(packet(b'B', MACRO_BYTES as usize + 1));
            stream.extend([0, 0, 0, 0, b'D']);
            if let Some(excess) = excess {
                stream.extend(packet(b'D', MACRO_BYTES as usize + excess));
            }
            let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
            prop_assert_eq!(is_taken(&pieces), excess.is_none());
            prop_assert_eq!(is_taken(&[&stream]), excess.is_none());
        }

        #[test]
        fn more_definitions_than_any_mta_has_are_found(strings in 0..200u32, cut in 1..50usize) {
            let text = "{macro}\0".repeat(strings as usize);
            let mut stream = packet(b'B', 70_000);
            stream.extend((text.len() as u32 + 2).to_be_bytes());
            stream.extend(b"DC");
            stream.extend(text.as_bytes());
            stream.extend(packet(b'B', 9));
            let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
            prop_assert_eq!(is_taken(&pieces), strings <= MACRO_STRINGS);
        }
    }

    /// The gateway's side as indymilter has it, and the peer's.
    type Pair = (BufReader<Packets<DuplexStream>>, DuplexStream);

    async fn connected(memory: &Arc<Memory>) -> Pair {
        let connections = Arc::new(Connections::new(9));
        let (connection, _) = connections.admit().await;
        let (ours, theirs) = duplex(4 * MIB);
        let ours = Packets::new(ours, Arc::new(connection), memory.clone());
        (BufReader::new(ours), theirs)
    }

    #[tokio::test]
    async fn a_connection_with_long_macros_fails() {
        let (mut ours, mut theirs) = connected(&Memory::new(16 * MIB)).await;
        theirs.write_all(&packet(b'O', 12)).await.unwrap();
        ours.read_exact(&mut [0; 17]).await.unwrap();
        let long = [0xff, 0xff, 0xff, 0xff, b'D'];
        theirs.write_all(&long).await.unwrap();
        let error = ours.read_exact(&mut [0; 5]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    async fn read_packet(stream: &mut BufReader<Packets<DuplexStream>>) -> usize {
        let length = stream.read_u32().await.unwrap();
        let mut rest = vec![0; length as usize];
        stream.read_exact(&mut rest).await.unwrap();
        rest.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_packet_waits_until_another_is_done_with() {
        // Each large packet takes the whole pool.
        let memory = Memory::new(16 * MIB);
        let (mut first, mut to_first) = connected(&memory).await;
        let (mut second, mut to_second) = connected(&memory).await;
        let (usual, large) = (packet(b'B', 65_535), packet(b'L', MIB - 1));
        to_first.write_all(&large).await.unwrap();
        for packet in [&usual, &large, &large] {
            to_second.write_all(packet).await.unwrap();
        }
        assert_eq!(read_packet(&mut first).await, MIB);
        assert_eq!(read_packet(&mut second).await, 65_536);
        let waiting = tokio::spawn(async move {
            read_packet(&mut second).await;
            read_packet(&mut second).await
        });
        sleep(Duration::from_secs(60)).await;
        assert!(!waiting.is_finished());
        // The session has handled its packet when it reads the next.
        assert!(first.read_u8().now_or_never().is_none());
        assert_eq!(waiting.await.unwrap(), MIB);
    }
}
