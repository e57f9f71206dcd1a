//! The bounds of the spool.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::store::database::{Changes, Failure, Store, StoreError, room};

/// Amount of requests and replies in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Requests without their final result.
    pub requests: u64,
    /// Replies not yet delivered to all their targets.
    pub(crate) replies: u64,
    /// Bytes of both.
    pub(crate) bytes: u64,
}

impl Store {
    /// The amount of requests and replies in the spool.
    pub async fn spool_usage(&self) -> Result<SpoolUsage, StoreError> {
        self.read(|connection| Box::pin(usage(connection))).await
    }

    /// Checks whether a small request would be taken now. Takes the way of a change, but writes
    /// nothing.
    ///
    /// # Errors
    /// Those of [`Store::accept`].
    pub(crate) async fn require_room(&self) -> Result<(), StoreError> {
        self.change(|changes| {
            Box::pin(async move {
                room::require(0, changes).await?;
                require(0, changes).await
            })
        })
        .await
    }
}

/// Fails if a message of this size is beyond the bounds of the spool.
pub(super) async fn require(size: usize, changes: &mut Changes<'_>) -> Result<(), Failure> {
    let usage = usage(changes.connection).await?;
    let held = usage.requests + usage.replies;
    let bytes = usage.bytes;
    if held >= changes.settings.max_requests
        || bytes.saturating_add(size as u64) > changes.settings.max_bytes
    {
        return Err(Failure::Full { held, bytes });
    }
    Ok(())
}

/// Reads the counts that the triggers keep.
pub(super) async fn usage(connection: &mut SqliteConnection) -> sqlx::Result<SpoolUsage> {
    let row = sqlx::query("SELECT requests, replies, bytes FROM spool_usage")
        .fetch_one(connection)
        .await?;
    Ok(SpoolUsage {
        requests: row.try_get("requests")?,
        replies: row.try_get("replies")?,
        bytes: row.try_get("bytes")?,
    })
}
