//! What is kept of a message while it comes in: no more than the policy needs to
//! see, and within the memory for messages. Judges nothing.

use std::sync::Arc;

use super::memory::{Memory, NoMemory, Share};
use crate::{mail::Message, policy};

/// What a header field takes beside its octets: its place in the list, and what
/// the allocator adds to name and value.
const FIELD_COST: usize = 128;

/// The content of one message.
pub(super) struct Content {
    message: Message,
    /// Octets that came, kept or not.
    size: u64,
    /// Octets of the fields kept; adding them up for each would be quadratic.
    header_size: usize,
    /// Octets for which the body has room.
    body_held: usize,
    share: Share,
    /// Why nothing of it is kept, if so.
    lost: Option<NoMemory>,
}

impl Content {
    /// Nothing has come yet.
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        Self {
            message: Message::default(),
            size: 0,
            header_size: 0,
            body_held: 0,
            share: memory.share(),
            lost: None,
        }
    }

    /// What was kept.
    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    /// Octets that came, kept or not.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What is kept takes so many bytes; an error if there was no memory for it.
    pub(super) fn held(&self) -> Result<usize, NoMemory> {
        match self.lost {
            None => Ok(self.share.bytes()),
            Some(error) => Err(error),
        }
    }

    /// One header field, its value raw. One past a limit is enough for the rule
    /// to see it, and of that one no more than the limit.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8], limits: &policy::Limits) {
        self.add_size(name.len() + value.len() + ":\r\n".len());
        let limit = limits.max_header_bytes;
        let headers = &mut self.message.headers;
        let is_over = self.header_size > limit || headers.len() > limits.max_headers;
        if is_over || self.lost.is_some() {
            return;
        }
        let cut = |octets: &'_ [u8]| octets.len().min(limit.saturating_add(1));
        let (name, value) = (
            name.get(..cut(name)).unwrap_or_default(),
            value.get(..cut(value)).unwrap_or_default(),
        );
        let size = headers.push(name, value);
        self.header_size += size;
        if let Err(error) = self.share.grow(size + FIELD_COST) {
            self.lose(error);
        }
    }

    /// A piece of the body. Of a message over its limit none is kept: the rule
    /// needs only its size.
    pub(super) fn body(&mut self, piece: &[u8], limits: &policy::Limits) {
        self.add_size(piece.len());
        if self.size > limits.max_message_bytes {
            self.message.body = Vec::new();
            self.share.shrink(std::mem::take(&mut self.body_held));
        } else if self.lost.is_none()
            && let Err(error) = self.keep(piece, limits.max_message_bytes)
        {
            self.lose(error);
        }
    }

    /// Room is doubled, but for no more than there may come.
    fn keep(&mut self, piece: &[u8], limit: u64) -> Result<(), NoMemory> {
        let body = &mut self.message.body;
        let needed = body.len() + piece.len();
        if needed > self.body_held {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let doubled = self.body_held.saturating_mul(2).min(limit);
            let capacity = doubled.max(needed);
            self.share.grow(capacity - self.body_held)?;
            self.body_held = capacity;
            body.reserve_exact(capacity - body.len());
        }
        body.extend_from_slice(piece);
        Ok(())
    }

    /// The rest of the message is of no use either.
    fn lose(&mut self, error: NoMemory) {
        self.lost = Some(error);
        self.message = Message::default();
        self.body_held = 0;
        self.share.shrink(self.share.bytes());
    }

    fn add_size(&mut self, bytes: usize) {
        self.size = self
            .size
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}
