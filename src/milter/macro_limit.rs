//! Ends a connection whose macros are larger than any MTA's: indymilter keeps
//! all definitions of every stage, and takes twenty times their length for the
//! shortest. Knows how packets are framed, and nothing of their content.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest packet of macros taken. Postfix sends, of those that are asked
/// for, an address at most.
const LIMIT: u32 = 8 * 1024;

/// The command that defines macros.
const DEFINE_MACROS: u8 = b'D';

/// Where in the stream of packets we are.
#[derive(Debug)]
enum Place {
    /// So many bytes of the length are read, and this is what they say.
    Length { bytes_read: u8, length: u32 },
    /// The command comes next, of a packet of this length.
    Command { length: u32 },
    /// So many bytes of payload are to come.
    Payload { left: u32 },
}

const BEGIN: Place = Place::Length {
    bytes_read: 0,
    length: 0,
};

impl Place {
    /// Walks on over `bytes`; false where macros begin that are too long.
    fn walk(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&first, rest)) = bytes.split_first() {
            bytes = rest;
            *self = match *self {
                Self::Length { bytes_read, length } => {
                    let length = length << 8 | u32::from(first);
                    match bytes_read {
                        3 => Self::Command { length },
                        _ => Self::Length {
                            bytes_read: bytes_read + 1,
                            length,
                        },
                    }
                }
                Self::Command { length } if first == DEFINE_MACROS && length > LIMIT => {
                    return false;
                }
                // indymilter reads a command even where the length has no room for it.
                Self::Command { length } => Self::payload(length.saturating_sub(1)),
                Self::Payload { left } => {
                    let skipped = rest.len().min(left.saturating_sub(1) as usize);
                    bytes = rest.get(skipped..).unwrap_or_default();
                    Self::payload(left.saturating_sub(1 + skipped as u32))
                }
            };
        }
        true
    }

    fn payload(left: u32) -> Self {
        match left {
            0 => BEGIN,
            left => Self::Payload { left },
        }
    }
}

/// A connection that fails to read macros beyond the limit.
pub(super) struct MacroLimit<S> {
    stream: S,
    place: Place,
}

impl<S> MacroLimit<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            place: BEGIN,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MacroLimit<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        if this.place.walk(read) {
            return polled;
        }
        tracing::warn!("macros of more than {LIMIT} bytes on the milter port; is it a Postfix?");
        Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MacroLimit<S> {
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
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn packet(command: u8, payload: usize) -> Vec<u8> {
        let mut packet = (payload as u32 + 1).to_be_bytes().to_vec();
        packet.push(command);
        packet.resize(packet.len() + payload, b'D');
        packet
    }

    fn is_taken(pieces: &[&[u8]]) -> bool {
        let mut place = BEGIN;
        pieces.iter().all(|piece| place.walk(piece))
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
            // Longest first, with no room for a command, and then too long.
            stream.extend(packet(b'D', LIMIT as usize - 1));
            stream.extend(packet(b'B', LIMIT as usize + 1));
            stream.extend([0, 0, 0, 0, b'D']);
            if let Some(excess) = excess {
                stream.extend(packet(b'D', LIMIT as usize + excess));
            }
            let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
            prop_assert_eq!(is_taken(&pieces), excess.is_none());
            prop_assert_eq!(is_taken(&[&stream]), excess.is_none());
        }
    }

    #[tokio::test]
    async fn a_connection_with_long_macros_fails() {
        let (ours, mut theirs) = duplex(64);
        let mut connection = MacroLimit::new(ours);
        theirs.write_all(&packet(b'O', 12)).await.unwrap();
        connection.read_exact(&mut [0; 17]).await.unwrap();
        theirs
            .write_all(&[0xff, 0xff, 0xff, 0xff, b'D'])
            .await
            .unwrap();
        let error = connection.read_exact(&mut [0; 5]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
