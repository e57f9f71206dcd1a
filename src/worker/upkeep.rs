//! What the audit log needs from time to time: counts settled, its head told,
//! its oldest entries cut. Knows no mail.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    clock::Clock,
    config::Period,
    store::{Store, StoreError},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks after the audit log.
pub struct Upkeep {
    /// Where the log is.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long entries are kept; replaced when the configuration is.
    pub keep: watch::Receiver<Period>,
}

/// One of the things to be done.
#[derive(Clone, Copy)]
enum Chore {
    SettleCounts,
    TellHead,
    Prune,
}

impl Upkeep {
    /// Does each thing in its turn until `stop` turns true; tells the head
    /// once more then.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let begun = Instant::now();
        let mut chores = [
            (begun, MINUTE, Chore::SettleCounts),
            (begun, HOUR, Chore::TellHead),
            (begun, DAY, Chore::Prune),
        ];
        while !*stop.borrow() {
            for (due, every, chore) in &mut chores {
                if *due <= Instant::now() {
                    self.carry_out(*chore).await;
                    *due = Instant::now() + *every;
                }
            }
            let next = chores.iter().map(|(due, ..)| *due).min();
            tokio::select! {
                () = sleep_until(next.unwrap_or(begun)) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        self.carry_out(Chore::TellHead).await;
    }

    async fn carry_out(&self, chore: Chore) {
        let done = match chore {
            Chore::SettleCounts => self.store.settle_counts(self.clock.now()).await,
            Chore::TellHead => self.tell_head().await,
            Chore::Prune => self.prune().await,
        };
        if let Err(error) = done {
            tracing::error!(%error, "the audit log could not be looked after; trying again later");
        }
    }

    /// A head in a log on another machine is what a cut of the log's newest
    /// entries shows against.
    async fn tell_head(&self) -> Result<(), StoreError> {
        let head = self.store.audit_head().await?;
        tracing::info!(%head, "audit log");
        Ok(())
    }

    async fn prune(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let keep = self.keep.borrow().as_signed();
        // A time before all times: everything is kept.
        let Ok(before) = now.checked_sub(keep) else {
            return Ok(());
        };
        loop {
            match self.store.prune_audit(before, now).await? {
                Ok(0) => return Ok(()),
                Ok(cut) => tracing::info!(cut, %before, "old audit entries cut"),
                Err(broken) => {
                    tracing::error!(%broken, "nothing cut; run kms-gateway audit verify");
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{
        audit::{ChainKey, Entry, Event},
        clock::SystemClock,
        store::{SqliteStore, StoreSettings},
    };

    #[tokio::test]
    async fn old_entries_are_cut_and_counts_settled_from_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let settings = StoreSettings::new(directory.path().join("store/gateway.db"));
        let store = SqliteStore::open(&settings, Some(ChainKey::new(&[7; 32])))
            .await
            .unwrap();
        let days_ago = |days: i64| Timestamp::now() - SignedDuration::from_hours(24 * days);
        store
            .note(Entry::new(days_ago(9), Event::Judged))
            .await
            .unwrap();
        for _ in 0..3 {
            let entry = Entry::new(days_ago(1), Event::Judged);
            store.note_counted("dnsbl", entry).await.unwrap();
        }
        let (stop, stopped) = watch::channel(false);
        let (_, keep) = watch::channel("8d".parse().unwrap());
        let upkeep = Upkeep {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            keep,
        };
        let running = tokio::spawn(upkeep.run(stopped));
        let events = loop {
            let entries = store.audit_entries(1, 9).await.unwrap();
            let entries: Vec<Entry> = entries
                .iter()
                .map(|stored| stored.entry().unwrap())
                .collect();
            if entries.iter().any(|entry| entry.event == Event::Pruned) {
                break entries;
            }
            tokio::task::yield_now().await;
        };
        let told: Vec<_> = events
            .iter()
            .map(|entry| (entry.event, entry.count))
            .collect();
        let expected = [
            (Event::Judged, None),
            (Event::Judged, Some(2)),
            (Event::Pruned, Some(1)),
        ];
        assert_eq!(told, expected);
        stop.send_replace(true);
        running.await.unwrap();
    }
}
