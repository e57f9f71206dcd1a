//! The clock, beside what the store knows of it.

use std::sync::Arc;

use crate::{
    clock::{Clock, WatchedClock},
    clock_record::ClockRecord,
    store::{Store, StoreError},
};

/// The clock with its record as it was kept. Without one the newest audit entry
/// tells which time was reached.
pub(super) async fn watched(
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
