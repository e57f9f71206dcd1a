//! Regular chores for the store. Settles the audit log's counts, logs its head, and cuts
//! its old entries. Forgets replay marks that a watermark can replace. Warns before the
//! last KMC key ends. Watches the clock and the sealed rows. Measures the backlog. Knows
//! no mail.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{clock_watch::ClockWatch, seal_watch::SealWatch};
use crate::{
    config::Period,
    kms::{AlteredRows, KmcKeyRow, KmcKeys, Kms, KmsTables},
    measures::{
        AUDIT_SEQUENCE, KMC_KEYS_END, SPOOL_AGE, SPOOL_BYTES, SPOOL_REPLIES, SPOOL_REQUESTS,
        THROTTLED, Throttled, Waiting,
    },
    store::{Store, StoreError},
    sts::StsTime,
    time::{Clock as _, WatchedClock},
};

const QUARTER_MINUTE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Does the regular chores of the store.
pub(crate) struct Upkeep {
    /// The store that the chores are for.
    pub(crate) store: Arc<Store>,
    /// The key management system whose sealed rows are checked.
    pub(crate) kms: Arc<dyn Kms>,
    /// Gets the rows that somebody altered.
    pub(crate) altered_rows: watch::Sender<AlteredRows>,
    /// The clock that decides what is old.
    pub(crate) clock: Arc<WatchedClock>,
    /// The time for which audit entries and modules' histories are kept; replaced when the
    /// configuration is.
    pub(crate) keep: watch::Receiver<Period>,
    /// The time for which replay marks are kept, from the time in their requests. It is at
    /// least as long as a fresh request may wait for its answer.
    pub(crate) replay_marks: Period,
    /// Whether metrics are served, so that the backlog is measured.
    pub(crate) is_measured: bool,
    /// The time before the end of the last KMC key from which the log warns; none if
    /// another system has the keys.
    pub(crate) key_warning: Option<Period>,
}

/// A regular chore.
#[derive(Clone, Copy)]
enum Chore {
    SettleCounts,
    LogHead,
    PruneAudit,
    PruneReplayMarks,
    Measure,
    WarnOfKeys,
    WatchClock,
    WatchSeals,
}

/// The state that chores keep between two runs.
struct Watches {
    clock: ClockWatch,
    seals: SealWatch,
}

impl Upkeep {
    /// Does each chore when it is due until `stop` turns true. Then logs the head once
    /// more.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let begun = Instant::now();
        let mut chores = [
            (begun, MINUTE, Chore::SettleCounts),
            (begun, HOUR, Chore::LogHead),
            (begun, DAY, Chore::PruneAudit),
            (begun, DAY, Chore::PruneReplayMarks),
            (begun, QUARTER_MINUTE, Chore::Measure),
            (begun, DAY, Chore::WarnOfKeys),
            (begun, QUARTER_MINUTE, Chore::WatchClock),
            (begun, QUARTER_MINUTE, Chore::WatchSeals),
        ];
        let mut watches = Watches {
            clock: ClockWatch::default(),
            seals: SealWatch::new(self.altered_rows.clone()),
        };
        while !*stop.borrow() {
            for (due, every, chore) in &mut chores {
                if *due <= Instant::now() {
                    self.carry_out(*chore, &mut watches).await;
                    *due = Instant::now() + *every;
                }
            }
            let next = chores.iter().map(|(due, ..)| *due).min();
            tokio::select! {
                () = sleep_until(next.unwrap_or(begun)) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        self.carry_out(Chore::LogHead, &mut watches).await;
        // A new watch keeps a record at once: the next start knows the whole uptime.
        watches.clock = ClockWatch::default();
        self.carry_out(Chore::WatchClock, &mut watches).await;
    }

    async fn carry_out(&self, chore: Chore, watches: &mut Watches) {
        let done = match chore {
            Chore::SettleCounts => self.store.settle_counts(self.clock.now()).await,
            Chore::LogHead => self.log_head().await,
            Chore::PruneAudit => self.prune_audit().await,
            Chore::PruneReplayMarks => self.prune_replay_marks().await,
            Chore::Measure if self.is_measured => self.measure().await,
            Chore::Measure => Ok(()),
            Chore::WarnOfKeys => self.warn_of_keys().await,
            Chore::WatchClock => watches.clock.look(&self.clock, self.store.as_ref()).await,
            Chore::WatchSeals => {
                if let Err(error) = watches.seals.look(self.kms.as_ref()).await {
                    tracing::error!(%error, "the sealed rows can't be read; trying again later");
                }
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::error!(%error, "the store could not be looked after; trying again later");
        }
    }

    /// Logs the audit log's head. A log on another machine then shows when somebody cuts
    /// the newest entries.
    async fn log_head(&self) -> Result<(), StoreError> {
        let head = self.store.audit_head().await?;
        tracing::info!(%head, "audit log");
        Ok(())
    }

    async fn prune_audit(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let keep = self.keep.borrow().as_signed();
        let before = self.clock.surely_before(keep);
        self.store.prune_history(before).await?;
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

    async fn prune_replay_marks(&self) -> Result<(), StoreError> {
        let oldest = self.clock.surely_before(self.replay_marks.as_signed());
        // A time before all record times forgets nothing.
        let Some(through) = StsTime::from_timestamp(oldest) else {
            return Ok(());
        };
        let forgotten = self.store.prune_replay_marks(through).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, %through, "old replay marks forgotten");
        }
        Ok(())
    }

    /// Measures often, because other processes change the store too.
    async fn measure(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let backlog = self.store.backlog(now).await?;
        let usage = backlog.usage;
        let at_hand = usage.requests.saturating_sub(backlog.put_off);
        SPOOL_REQUESTS.at(Waiting::Turn).set(at_hand as f64);
        let put_off = backlog.put_off as f64;
        SPOOL_REQUESTS.at(Waiting::LaterTime).set(put_off);
        SPOOL_REPLIES.only().set(usage.replies as f64);
        SPOOL_BYTES.only().set(usage.bytes as f64);
        let age = backlog.oldest.map_or(0.0, |oldest| {
            now.duration_since(oldest).as_secs_f64().max(0.0)
        });
        SPOOL_AGE.only().set(age);
        let waiting = backlog.deferred_senders as f64;
        THROTTLED.at(Throttled::Waiting).set(waiting);
        let blocked = backlog.blocked_senders as f64;
        THROTTLED.at(Throttled::Blocked).set(blocked);
        let head = self.store.audit_head().await?;
        AUDIT_SEQUENCE.only().set(head.sequence as f64);
        self.measure_keys().await
    }

    async fn measure_keys(&self) -> Result<(), StoreError> {
        if let Some((now, rows)) = self.kmc_keys().await? {
            let end = KmcKeys::at(now, &rows).served_until();
            KMC_KEYS_END
                .only()
                .set(end.map_or(0.0, |end| end.unix_seconds() as f64));
        }
        Ok(())
    }

    async fn warn_of_keys(&self) -> Result<(), StoreError> {
        let Some(warning) = self.key_warning else {
            return Ok(());
        };
        if let Some((now, rows)) = self.kmc_keys().await?
            && let Some(ending) = KmcKeys::at(now, &rows).run_out(warning.as_signed())
        {
            tracing::warn!("{ending}");
        }
        Ok(())
    }

    /// The time and the KMC's keys. None if another system has them, and at times that no
    /// record can hold: no key serves then, and each reply says so.
    async fn kmc_keys(&self) -> Result<Option<(StsTime, Vec<KmcKeyRow>)>, StoreError> {
        let now = StsTime::from_timestamp(self.clock.now());
        let (Some(now), Some(_)) = (now, self.key_warning) else {
            return Ok(None);
        };
        match self.store.kmc_keys().await {
            Ok(rows) => Ok(Some((now, rows))),
            Err(error) => {
                tracing::error!(%error, "the KMC's keys can't be read");
                Ok(None)
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
        kms::{Effects, EmbeddedKms, KeyLoadFileSettings, KmsTables},
        secrets::StorageKey,
        store::{
            Completion, Store, StoreSettings,
            testing::{TestStore, at, completion, klf_issued, module_row, request, smid},
        },
        time::{Clock, ClockRecord, Look, SystemClock},
    };

    #[tokio::test]
    async fn old_entries_are_cut_and_counts_settled_from_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let settings = StoreSettings::new(directory.path().join("store/gateway.db"));
        let store = Store::open(&settings, Some(ChainKey::new(&[7; 32])))
            .await
            .unwrap();
        let days_ago = |days: i64| Timestamp::now() - SignedDuration::from_hours(24 * days);
        for (days, rule) in [(9, "subject"), (1, "dnsbl"), (1, "dnsbl"), (1, "dnsbl")] {
            let mut entry = Entry::new(days_ago(days), Event::Judged);
            entry.rule = Some(rule.to_owned());
            store.note_rejected(entry).await.unwrap();
        }
        let (stop, stopped) = watch::channel(false);
        let (_, keep) = watch::channel("8d".parse().unwrap());
        let upkeep = Upkeep {
            store: store.clone(),
            kms: kms(store.clone()),
            altered_rows: watch::channel(AlteredRows::default()).0,
            clock: Arc::new(WatchedClock::unknown(Arc::new(SystemClock))),
            keep,
            replay_marks: Period::from_secs(60),
            key_warning: Some(Period::from_secs(60)),
            is_measured: true,
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
        let found: Vec<_> = events
            .iter()
            .map(|entry| (entry.event, entry.count))
            .collect();
        let expected = [
            (Event::Judged, None),
            (Event::Judged, Some(2)),
            (Event::Pruned, Some(1)),
        ];
        assert_eq!(found, expected);
        stop.send_replace(true);
        running.await.unwrap();
    }

    /// A clock that stands still.
    struct Stands(Timestamp);

    impl Clock for Stands {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    fn kms(tables: Arc<Store>) -> Arc<dyn Kms> {
        let settings = KeyLoadFileSettings {
            max_ahead: Period::from_secs(60),
            ..KeyLoadFileSettings::default()
        };
        Arc::new(EmbeddedKms::new(tables, StorageKey::random().unwrap(), settings).unwrap())
    }

    fn upkeep_at(test: &TestStore, second: i64) -> Upkeep {
        Upkeep {
            store: test.store.clone(),
            kms: kms(test.store.clone()),
            altered_rows: watch::channel(AlteredRows::default()).0,
            clock: Arc::new(WatchedClock::unknown(Arc::new(Stands(at(second))))),
            keep: watch::channel("400d".parse().unwrap()).1,
            replay_marks: Period::from_secs(3600),
            key_warning: Some(Period::from_secs(60)),
            is_measured: true,
        }
    }

    /// A store with a module that got a key load file in second 2.
    async fn after_an_issue() -> TestStore {
        let test = TestStore::new().await;
        let store = &test.store;
        store.add_module(module_row(), at(0)).await.unwrap();
        let asker = store.asker(&smid(), &[9; 32]).await.unwrap();
        store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        let completion = Completion {
            effects: Effects::KlfIssued(klf_issued(asker.revision)),
            ..completion(at(2), &[])
        };
        store.complete(&leased.token, completion).await.unwrap();
        test
    }

    #[tokio::test]
    async fn a_clock_that_is_ahead_has_nothing_forgotten_until_it_is_believed() {
        const YEARS: i64 = 2 * 400 * 24 * 3600;
        let test = after_an_issue().await;
        let store = &test.store;
        let held = async || {
            let asker = store.asker(&smid(), &[9; 32]).await.unwrap();
            let issued = store.issued_to(&smid(), 9).await.unwrap().len();
            let entries = store.audit_entries(1, 99).await.unwrap().len();
            (asker.replayed, issued, entries)
        };
        let before = held().await;
        assert!(before.0 && before.1 == 1);
        // The machine was started a minute ago. Its last sign of life is two retention
        // periods old.
        let mut record = ClockRecord::after(
            at(2),
            Look {
                now: at(YEARS),
                uptime: SignedDuration::from_secs(60),
            },
        );
        let ahead = |record: &ClockRecord| Upkeep {
            clock: Arc::new(WatchedClock::new(Arc::new(At(record.last)), record.clone())),
            ..upkeep_at(&test, YEARS)
        };
        let prune = async |upkeep: Upkeep| {
            upkeep.prune_audit().await.unwrap();
            upkeep.prune_replay_marks().await.unwrap();
        };
        prune(ahead(&record)).await;
        assert_eq!(held().await, before);

        record.look(Look {
            now: at(YEARS + 6 * 3600),
            uptime: SignedDuration::from_secs(60 + 6 * 3600),
        });
        prune(ahead(&record)).await;
        assert_eq!(held().await, (false, 0, 1));
    }

    /// A clock and an uptime that stand still.
    struct At(Look);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0.now
        }

        fn uptime(&self) -> SignedDuration {
            self.0.uptime
        }
    }

    #[tokio::test]
    async fn a_modules_history_is_kept_as_long_as_the_audit_log() {
        const KEPT: i64 = 400 * 24 * 3600;
        let test = after_an_issue().await;
        let issued = async || test.store.issued_to(&smid(), 9).await.unwrap().len();
        upkeep_at(&test, KEPT + 2).prune_audit().await.unwrap();
        assert_eq!(issued().await, 1);
        upkeep_at(&test, KEPT + 3).prune_audit().await.unwrap();
        assert_eq!(issued().await, 0);
    }

    #[tokio::test]
    async fn replay_marks_are_forgotten_when_the_watermark_can_stand_for_them() {
        const MADE: i64 = -60;
        let test = after_an_issue().await;
        let store = &test.store;
        let mark = async || store.asker(&smid(), &[9; 32]).await.unwrap();

        let early = upkeep_at(&test, MADE + 3599);
        early.prune_replay_marks().await.unwrap();
        assert!(mark().await.replayed && mark().await.watermark.is_none());

        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(upkeep_at(&test, MADE + 3600).run(stopped));
        while mark().await.replayed {
            tokio::task::yield_now().await;
        }
        let made = StsTime::from_timestamp(at(MADE)).unwrap();
        assert_eq!(mark().await.watermark, Some(made));
        stop.send_replace(true);
        running.await.unwrap();
    }
}
