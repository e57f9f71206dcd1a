//! The audit log: one entry for each decision, chained so that any change shows.
//!
//! This folder says what an entry is, which bytes of it count and how the chain
//! is computed. Where entries are kept is the store's business.

mod chain;
mod entry;

pub use chain::{Anchor, BrokenAt, ChainKey, Fault, HandOver, Head, HeadSyntax, Link};
pub use entry::{Entry, Event};
