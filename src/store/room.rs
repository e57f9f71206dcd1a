//! The reserve of the file system: what comes from outside stops before it, so
//! that what was accepted can be brought to its end.
//!
//! New requests ask for it, and the audit entries of ignored mail, which come
//! at strangers' will. Nothing else does: results and deliveries free more
//! than they take, entries of rejected mail are one a minute for each rule, the
//! rest is an operator's or upkeep.

use super::error::Failure;
use super::intent::Changes;
use super::open;

/// A message stands in the write-ahead log and then in the database too.
const COPIES: u64 = 2;

/// This part of the reserve must be free on the file system itself: the
/// write-ahead log can't use what is free within the database.
const FOR_THE_LOG: u64 = 4;

/// Whether there is room for a message of this size before the reserve.
pub(super) async fn require(size: usize, changes: &mut Changes<'_>) -> Result<(), Failure> {
    let reserve = changes.settings.min_free_bytes;
    // Where it can't be told, the write itself will tell.
    let Some(outside) = free_outside(changes).filter(|_| reserve > 0) else {
        return Ok(());
    };
    let needed = reserve.saturating_add(COPIES.saturating_mul(size as u64));
    if outside >= needed {
        return Ok(());
    }
    // SQLite keeps what was deleted as free pages and never gives it back, so
    // that a spool that filled the file system is empty one day and as large.
    let free = outside.saturating_add(free_within(changes).await?);
    if free >= needed && outside >= needed / FOR_THE_LOG {
        return Ok(());
    }
    Err(Failure::NoRoom(free))
}

fn free_outside(changes: &Changes<'_>) -> Option<u64> {
    let status = rustix::fs::statvfs(open::directory_of(&changes.settings.path)).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

async fn free_within(changes: &mut Changes<'_>) -> Result<u64, sqlx::Error> {
    let pages: i64 = sqlx::query_scalar("PRAGMA freelist_count")
        .fetch_one(&mut *changes.connection)
        .await?;
    let size: i64 = sqlx::query_scalar("PRAGMA page_size")
        .fetch_one(&mut *changes.connection)
        .await?;
    Ok(u64::try_from(pages.saturating_mul(size)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::super::testing::{TestStore, at, chain_key, completion, request};
    use super::super::{Accepted, Completed, NewRequest, SqliteStore, Store, StoreError};
    use crate::audit::{Entry, Event};

    /// Another handle on the store, with a reserve that no file system has.
    async fn without_room(test: &TestStore) -> Arc<SqliteStore> {
        let mut settings = test.settings.clone();
        settings.min_free_bytes = u64::MAX;
        let opened = SqliteStore::open(&settings, Some(chain_key())).await;
        opened.unwrap()
    }

    #[tokio::test]
    async fn the_reserve_is_for_what_was_accepted() {
        let test = TestStore::new().await;
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
        let test = TestStore::with(|settings| settings.min_free_bytes = 0).await;
        let large = NewRequest {
            message: vec![0; 1 << 20],
            ..request(1)
        };
        assert_eq!(test.store.accept(large).await.unwrap(), Accepted::New);
    }
}
