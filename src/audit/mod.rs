//! The audit log: one entry for each decision, chained so that any change shows.
//!
//! This folder defines an entry, its canonical bytes and the chain over them. The
//! store keeps the entries.

mod chain;
mod entry;

pub use chain::ChainKey;
pub(crate) use chain::{Anchor, BrokenAt, Fault, HandOver, Head, Link};
pub use entry::{Entry, Event};
