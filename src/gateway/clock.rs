//! The clock, compared with the record of it in the store.

use std::sync::Arc;

use crate::{
    store::{Store, StoreError},
    time::{Clock, ClockRecord, WatchedClock},
};

/// Opens the clock with the store's record. Without a record it begins with the time
/// of the newest audit entry.
pub(crate) async fn watched(
    clock: Arc<dyn Clock>,
    store: &Store,
) -> Result<Arc<WatchedClock>, StoreError> {
    let record = match store.clock_record().await? {
        Some(record) => record,
        None => {
            let head = store.audit_head().await?;
            let newest = store.audit_entries(head.sequence, 1).await?;
            let newest = newest.first().and_then(|stored| stored.entry().ok());
            let look = clock.look();
            newest.map_or(ClockRecord::new(look), |entry| {
                ClockRecord::after(entry.time, look)
            })
        }
    };
    Ok(Arc::new(WatchedClock::new(clock, record)))
}
