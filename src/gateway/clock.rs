//! The clock by which a gateway goes: the database's where several gateways use one, or else the
//! machine's. Compared with the record of it in the store.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    store::{SharedClock, Store, StoreError},
    time::{Clock, ClockRecord, WatchedClock},
};

/// Opens the clock with the store's record. `machine` is the machine's clock. Without a record it
/// begins with the time of the newest audit entry.
pub(crate) async fn watched(
    machine: Arc<dyn Clock>,
    store: &Store,
) -> Result<Arc<WatchedClock>, StoreError> {
    let shared = store.clock();
    let clock = ClockOfStore { machine, shared };
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
    Ok(Arc::new(WatchedClock::new(Arc::new(clock), record)))
}

/// The time for an operator's command on this store.
pub(crate) fn now(store: &Store) -> Timestamp {
    store.clock().at(Timestamp::now())
}

/// The machine's clock, put right by the database's.
struct ClockOfStore {
    machine: Arc<dyn Clock>,
    shared: Arc<SharedClock>,
}

impl Clock for ClockOfStore {
    fn now(&self) -> Timestamp {
        self.shared.at(self.machine.now())
    }

    fn uptime(&self) -> SignedDuration {
        self.machine.uptime()
    }
}
