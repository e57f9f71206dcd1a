//! Keeps the content of a message while it arrives: only as much as the policy
//! needs, and within the memory for messages. Judges nothing.

use std::sync::Arc;

use super::memory::{Memory, NoMemory, Share};
use crate::{mail::Message, policy};

/// Bytes that a header field takes beside its octets: its place in the list, and
/// the allocator's overhead for name and value.
const FIELD_COST: usize = 128;

/// The content of one message.
pub(super) struct Content {
    message: Message,
    /// Octets received, kept or not.
    size: u64,
    /// Octets of the kept fields. Adding them up for each field would be quadratic.
    header_size: usize,
    /// Capacity of the body, in octets.
    body_held: usize,
    share: Share,
    /// Set when memory ran out; nothing is kept then.
    lost: Option<NoMemory>,
}

impl Content {
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

    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    /// Octets received, kept or not.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory that the kept content takes; an error if memory ran out.
    pub(super) fn held(&self) -> Result<usize, NoMemory> {
        match self.lost {
            None => Ok(self.share.bytes()),
            Some(error) => Err(error),
        }
    }

    /// Adds one header field with its raw value. The first field past a limit is
    /// kept, cut to the limit, so that the rule notices it.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8], limits: &policy::Settings) {
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

    /// Adds a piece of the body. If the message is over its limit, no body is kept:
    /// the rule needs only the size.
    pub(super) fn body(&mut self, piece: &[u8], limits: &policy::Settings) {
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

    /// Doubles the capacity as needed, up to the limit of a message.
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

    /// Drops the whole content.
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
