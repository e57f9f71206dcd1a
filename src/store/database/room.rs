//! The reserve of the file system: new mail stops before it, so that accepted requests can be
//! answered.
//!
//! Only new requests and the audit entries of ignored mail keep out of it: strangers send those at
//! will. Results and deliveries free more than they take. Entries of rejected mail are one a minute
//! for each rule. The rest is an operator's work or upkeep.

use super::changes::Changes;
use super::error::{DatabaseError, Failure};
use super::sqlite::directory_of;

/// A message is first in the write-ahead log and then in the database too.
const COPIES: u64 = 2;

/// This part of the reserve must be free on the file system itself. The write-ahead log can't use
/// free pages of the database.
const FOR_THE_LOG: u64 = 4;

/// Fails unless a message of this size fits before the reserve.
pub(crate) fn require(size: usize, changes: &mut Changes<'_>) -> Result<(), Failure> {
    // The disk of a server is not the gateway's to watch.
    if changes.settings.postgresql.is_some() {
        return Ok(());
    }
    let reserve = changes.settings.min_free_bytes;
    // If the free space is unknown, the write itself will fail or not.
    let Some(outside) = free_outside(changes).filter(|_| reserve > 0) else {
        return Ok(());
    };
    let needed = reserve.saturating_add(COPIES.saturating_mul(size as u64));
    if outside >= needed {
        return Ok(());
    }
    // SQLite keeps deleted content as free pages and never gives them back. A spool that once
    // filled the file system stays as large when it is empty.
    let free = outside.saturating_add(free_within(changes)?);
    if free >= needed && outside >= needed / FOR_THE_LOG {
        return Ok(());
    }
    Err(Failure::NoRoom(free))
}

fn free_outside(changes: &Changes<'_>) -> Option<u64> {
    let status = rustix::fs::statvfs(directory_of(&changes.settings.path)).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

fn free_within(changes: &mut Changes<'_>) -> Result<u64, DatabaseError> {
    let pages: i64 = changes.connection.scalar("PRAGMA freelist_count", &[])?;
    let size: i64 = changes.connection.scalar("PRAGMA page_size", &[])?;
    Ok(u64::try_from(pages.saturating_mul(size)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use crate::audit::{Entry, Event};
    use crate::store::testing::{TestStore, at, chain_key, completion, request};
    use crate::store::{Accepted, Completed, NewRequest, Store, StoreError};

    /// Another handle on the store, with a reserve that no file system has.
    async fn without_room(test: &TestStore) -> Arc<Store> {
        let mut settings = test.settings.clone();
        settings.min_free_bytes = u64::MAX;
        let opened = Store::open(&settings, Some(chain_key())).await;
        opened.unwrap()
    }

    #[tokio::test]
    async fn the_reserve_is_for_what_was_accepted() {
        let test = TestStore::sqlite().await;
        test.store.accept(request(1)).await.unwrap();
        let low = without_room(&test).await;
        let judged = || Entry::new(at(2), Event::Judged);

        let refused = low.accept(request(2)).await;
        let Err(error @ StoreError::NoRoom { .. }) = refused else {
            unreachable!("{refused:?}");
        };
        let text = error.to_string();
        assert!(
            text.contains("gateway.db") && text.contains("make room"),
            "{text}"
        );
        let ignored = low.note_ignored(judged(), None).await;
        assert!(matches!(ignored, Err(StoreError::NoRoom { .. })));
        assert_eq!(test.events().await.len(), 1, "nothing of it was written");

        low.note_rejected(judged()).await.unwrap();
        let leased = test.lease(at(2)).await.unwrap();
        let completed = low
            .complete(&leased.token, completion(at(2), &["a@b.example"]))
            .await;
        assert_eq!(completed.unwrap(), Completed::Committed);
        let delivery = test.lease_delivery(at(3)).await.unwrap();
        assert!(low.delivered(&delivery, at(3), "250").await.unwrap());
        assert!(low.prune_audit(at(0), at(4)).await.unwrap().is_ok());

        let again = test.store.accept(request(2)).await;
        assert_eq!(again.unwrap(), Accepted::New);
    }

    #[tokio::test]
    async fn a_reserve_of_nothing_is_none() {
        let test = TestStore::on_sqlite(|settings| settings.min_free_bytes = 0).await;
        let large = NewRequest {
            message: vec![0; 1 << 20],
            ..request(1)
        };
        assert_eq!(test.store.accept(large).await.unwrap(), Accepted::New);
    }
}
