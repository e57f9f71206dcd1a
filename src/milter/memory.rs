//! The memory for the content of messages: one budget, which `[milter] max_memory`
//! sets. Half of it is for arriving content, three eighths for the copies made at
//! end-of-message, and an eighth for packets larger than Postfix's. Knows no message.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::strain::Strain;
use crate::measures::{MILTER_MEMORY, MILTER_MEMORY_LIMIT, MemoryPart};

/// Memory for judging and storing a message, in multiples of its content: the
/// decoded text, the text for the spool, and the store's copies of it.
const COPIES: usize = 8;

/// Memory for a packet until the session has handled it, in multiples of its length.
const PACKET_COPIES: usize = 4;

/// A part of the room for content is reserved for messages up to this size. Nearly all
/// requests are that small, and a few large messages must not keep them out.
const SMALL: usize = 64 * 1024;

/// Longest wait for room at end-of-message. Postfix waits for 60 s, and the store may
/// take 20 s of them.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// /readyz warns this long after a message was refused.
const RECENTLY: Duration = Duration::from_secs(60);

/// The unit in which semaphores count.
const KIB: usize = 1024;

/// The whole budget.
pub struct Memory {
    content_limit: usize,
    content: AtomicUsize,
    copies: Pool,
    copies_of_small: Pool,
    packets: Pool,
    last_refusal: Mutex<Option<Instant>>,
}

/// There is no room for the content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no memory is left for its content: messages hold {held} of {limit} bytes (milter.max_memory)"
)]
pub(super) struct NoMemory {
    held: usize,
    limit: usize,
}

impl Memory {
    /// A budget of `max_memory` bytes.
    pub fn new(max_memory: usize) -> Arc<Self> {
        let content_limit = max_memory / 2;
        let (copies, eighth) = (max_memory / 4, max_memory / 8);
        for (part, limit) in [
            (MemoryPart::Content, content_limit),
            (MemoryPart::Copies, copies + eighth),
            (MemoryPart::Packets, eighth),
        ] {
            MILTER_MEMORY_LIMIT.at(part).set(limit as f64);
            MILTER_MEMORY.at(part).set(0.0);
        }
        let copies = Pool::new(MemoryPart::Copies, copies);
        let copies_of_small = Pool::new(MemoryPart::Copies, eighth);
        let packets = Pool::new(MemoryPart::Packets, eighth);
        Arc::new(Self {
            content_limit,
            content: AtomicUsize::new(0),
            copies,
            copies_of_small,
            packets,
            last_refusal: Mutex::new(None),
        })
    }

    /// An empty share for a new message.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share {
            memory: self.clone(),
            bytes: 0,
        }
    }

    /// Room for the copies of this many bytes of content. Waits for other messages to
    /// end. Small messages have a pool of their own.
    pub(super) async fn copies(&self, bytes: usize) -> Result<Permit, NoMemory> {
        let pool = match bytes <= SMALL {
            true => &self.copies_of_small,
            false => &self.copies,
        };
        let permit = pool.take(bytes.saturating_mul(COPIES));
        timeout(LONGEST_WAIT, permit)
            .await
            .map_err(|_| self.refusal())
    }

    /// Waits for room for a packet of this many bytes.
    pub(super) async fn packet(&self, bytes: u32) -> Permit {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.packets.take(bytes.saturating_mul(PACKET_COPIES)).await
    }

    /// Whether memory is so short that connections which stand still must end.
    pub(super) fn is_short(&self) -> bool {
        self.held() > self.content_limit / 2 || self.packets.is_short()
    }

    /// The limits that memory has reached, for probes.
    pub(crate) fn strain(&self) -> Strain {
        let is_full = self.held() + SMALL > self.content_limit;
        let full = || self.no_memory().to_string();
        let last = *self.last_refusal();
        let was_full = last.is_some_and(|last| last.elapsed() < RECENTLY);
        let warning = || {
            "messages were refused within the last minute, as others held all of milter.max_memory"
                .to_owned()
        };
        Strain {
            refuses: is_full.then(full),
            warning: (is_full || was_full).then(warning),
        }
    }

    fn held(&self) -> usize {
        self.content.load(Ordering::Relaxed)
    }

    /// The error for a message, which is refused now.
    fn refusal(&self) -> NoMemory {
        *self.last_refusal() = Some(Instant::now());
        self.no_memory()
    }

    fn no_memory(&self) -> NoMemory {
        NoMemory {
            held: self.held(),
            limit: self.content_limit,
        }
    }

    fn last_refusal(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that one message holds until the share is dropped.
pub(super) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Share {
    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes this many more bytes.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let limit = self.memory.content_limit;
        let is_small = self.bytes.saturating_add(bytes) <= SMALL;
        let ceiling = if is_small { limit } else { limit / 4 * 3 };
        let taken = |held: usize| held.checked_add(bytes).filter(|held| *held <= ceiling);
        let content = &self.memory.content;
        let grown = content.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        match grown {
            Ok(_) => {
                self.bytes += bytes;
                MILTER_MEMORY
                    .at(MemoryPart::Content)
                    .increment(bytes as f64);
                Ok(())
            }
            Err(_) => Err(self.memory.refusal()),
        }
    }

    /// Gives this many bytes back, at most those held.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.memory.content.fetch_sub(bytes, Ordering::Relaxed);
        MILTER_MEMORY
            .at(MemoryPart::Content)
            .decrement(bytes as f64);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// A part of the budget for which messages wait.
struct Pool {
    part: MemoryPart,
    kib: usize,
    free: Arc<Semaphore>,
}

impl Pool {
    fn new(part: MemoryPart, bytes: usize) -> Self {
        let kib = (bytes / KIB).max(1);
        Self {
            part,
            kib,
            free: Arc::new(Semaphore::new(kib)),
        }
    }

    /// Waits for this many bytes. A demand that would never fit takes the whole pool.
    async fn take(&self, bytes: usize) -> Permit {
        let kib = bytes.div_ceil(KIB).clamp(1, self.kib);
        let wanted = u32::try_from(kib).unwrap_or(u32::MAX);
        // This never fails: the semaphore is never closed.
        let permit = self.free.clone().acquire_many_owned(wanted).await.ok();
        MILTER_MEMORY.at(self.part).increment((kib * KIB) as f64);
        Permit {
            part: self.part,
            kib,
            _permit: permit,
        }
    }

    fn is_short(&self) -> bool {
        self.free.available_permits() < self.kib / 2
    }
}

/// Room in a [`Pool`], held until it is dropped.
pub(super) struct Permit {
    part: MemoryPart,
    kib: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        MILTER_MEMORY
            .at(self.part)
            .decrement((self.kib * KIB) as f64);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;
    use tokio::time::sleep;

    use super::*;

    const MIB: usize = 1024 * KIB;

    #[test]
    fn large_messages_leave_room_for_small_ones() {
        let memory = Memory::new(16 * MIB);
        let mut large: Vec<Share> = (0..3).map(|_| memory.share()).collect();
        for share in &mut large {
            share.grow(2 * MIB).unwrap();
        }
        let mut next = memory.share();
        next.grow(SMALL).unwrap();
        assert!(next.grow(1).is_err());
        let mut small: Vec<Share> = (0..31).map(|_| memory.share()).collect();
        for share in &mut small {
            share.grow(SMALL).unwrap();
        }
        assert_eq!(memory.held(), 8 * MIB);
        let refused = memory.share().grow(1).unwrap_err();
        assert_eq!((refused.held, refused.limit), (8 * MIB, 8 * MIB));
        assert!(memory.strain().refuses.is_some());
        drop((large, small, next));
        assert_eq!(memory.held(), 0);
        assert!(memory.strain().refuses.is_none());
    }

    #[test]
    fn a_share_gives_back_what_it_took_and_no_more() {
        let memory = Memory::new(16 * MIB);
        let mut share = memory.share();
        share.grow(1000).unwrap();
        share.shrink(300);
        assert_eq!((share.bytes(), memory.held()), (700, 700));
        share.shrink(10_000);
        assert_eq!((share.bytes(), memory.held()), (0, 0));
        assert!(share.grow(usize::MAX).is_err());
        drop(share);
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn copies_are_waited_for_and_refused_after_a_time() {
        let memory = Memory::new(16 * MIB);
        // This takes the whole pool for large messages.
        let first = memory.copies(2 * MIB).await.unwrap();
        assert!(memory.copies(SMALL).now_or_never().unwrap().is_ok());
        let begin = Instant::now();
        assert!(memory.copies(SMALL + 1).await.is_err());
        assert_eq!(begin.elapsed(), LONGEST_WAIT);
        assert!(memory.strain().warning.is_some());
        let waiting = memory.copies(SMALL + 1);
        drop(first);
        assert!(waiting.now_or_never().unwrap().is_ok());
        sleep(RECENTLY).await;
        assert_eq!(memory.strain(), Strain::default());
    }

    #[tokio::test]
    async fn it_is_short_when_half_is_held() {
        let memory = Memory::new(16 * MIB);
        assert!(!memory.is_short());
        let mut share = memory.share();
        share.grow(5 * MIB).unwrap();
        assert!(memory.is_short());
        drop(share);
        let packet = memory.packet(1 << 20).await;
        assert!(memory.is_short());
        drop(packet);
        assert!(!memory.is_short());
    }
}
