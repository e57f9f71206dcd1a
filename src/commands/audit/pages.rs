//! Reads the audit log page by page, from its oldest entry on.

use crate::store::{Store, StoreError, StoredEntry};

/// Number of entries that are read at once.
const PAGE: u32 = 1_000;

pub(super) struct Pages<'a> {
    store: &'a Store,
    next: i64,
}

impl<'a> Pages<'a> {
    pub(super) fn of(store: &'a Store) -> Self {
        let next = i64::MIN;
        Self { store, next }
    }

    /// Reads the next page. None at the end of the log.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<StoredEntry>>, StoreError> {
        let page = self.store.audit_entries(self.next, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        self.next = last.head.sequence.saturating_add(1);
        Ok(Some(page))
    }
}
