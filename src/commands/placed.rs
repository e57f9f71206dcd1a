//! An audit entry with its sequence number.

use serde::Serialize;

use crate::{audit::Entry, store::StoredEntry};

/// An entry and its place in the log. Its JSON is one flat object.
#[derive(Debug, Serialize)]
pub(super) struct Placed {
    pub(super) sequence: i64,
    #[serde(flatten)]
    pub(super) entry: Entry,
}

impl Placed {
    /// Reads an entry. None if it is damaged, or of a newer version.
    pub(super) fn read(stored: &StoredEntry) -> Option<Self> {
        Some(Self {
            sequence: stored.head.sequence,
            entry: stored.entry().ok()?,
        })
    }
}
