//! A gateway with a real store, for sessions.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use kms_gateway::audit::{ChainKey, Entry};
use kms_gateway::milter::{Gateway, InFlight, Memory, Rules};
use kms_gateway::policy::{Settings, Throttle};
use kms_gateway::store::{NoticeSettings, Store, StoreSettings};
use kms_gateway::time::{Clock, WatchedClock};
use kms_gateway::{
    kms::{EmbeddedKms, KeyLoadFileSettings},
    secrets::StorageKey,
};
use tempfile::TempDir;
use tokio::sync::watch;

use super::gateway;

/// `{daemon_name}` of the internal listener.
pub const INTERNAL: &str = "internal";
/// Requests that the spool holds at most. Inputs can fill a spool of this size.
const MAX_REQUESTS: u64 = 24;
/// Percent of the spool for strangers, which inputs can fill too.
const STRANGERS_PERCENT: u8 = 50;
/// A directory in memory.
const MEMORY: &str = "/dev/shm";

/// A stopped clock, so that an input has the same effect each time.
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }
}

/// The gateway, its store and a sender of new rules.
pub struct House {
    pub gateway: Arc<Gateway>,
    pub rules: watch::Sender<Arc<Rules>>,
    store: Arc<Store>,
    _directory: TempDir,
}

impl House {
    pub async fn new() -> Self {
        let directory = match Path::new(MEMORY).is_dir() {
            true => TempDir::new_in(MEMORY).unwrap(),
            false => TempDir::new().unwrap(),
        };
        let mut settings =
            StoreSettings::new(directory.path().join("state").join("gateway.sqlite3"));
        settings.max_requests = MAX_REQUESTS;
        settings.strangers_percent = STRANGERS_PERCENT;
        settings.newcomers_percent = STRANGERS_PERCENT;
        settings.network_percent = STRANGERS_PERCENT;
        settings.min_free_bytes = 0;
        let store = Store::open(&settings, Some(ChainKey::new(&[7; 32])))
            .await
            .unwrap();
        let storage_key = StorageKey::random().unwrap();
        let kms =
            EmbeddedKms::new(store.clone(), storage_key, KeyLoadFileSettings::default()).unwrap();
        let (sender, receiver) = watch::channel(rules(false));
        let gateway = Gateway {
            store: store.clone(),
            kms: Arc::new(kms),
            clock: Arc::new(WatchedClock::unknown(Arc::new(StoppedClock))),
            rules: receiver,
            in_flight: InFlight::default(),
            memory: Memory::new(64 << 20),
        };
        House {
            gateway: Arc::new(gateway),
            rules: sender,
            store,
            _directory: directory,
        }
    }

    /// The number of requests in the spool, and the sequence number of the last
    /// audit entry.
    pub async fn on_disk(&self) -> (u64, i64) {
        let requests = self.store.spool_usage().await.unwrap().requests;
        (requests, self.store.audit_head().await.unwrap().sequence)
    }

    /// At most ten audit entries after the one with this sequence number.
    pub async fn entries_after(&self, sequence: i64) -> Vec<Entry> {
        let entries = self.store.audit_entries(sequence + 1, 10).await.unwrap();
        entries
            .iter()
            .map(|stored| stored.entry().unwrap())
            .collect()
    }

    /// Whether strangers' share of the spool is full. Then the next input gets
    /// a new gateway.
    pub async fn is_crowded(&self) -> bool {
        self.on_disk().await.0 >= MAX_REQUESTS * u64::from(STRANGERS_PERCENT) / 100
    }

    pub async fn close(self) {
        let verified = self.store.verify_audit(None).await.unwrap();
        assert_eq!(verified, Ok(self.store.audit_head().await.unwrap()));
        self.store.close().await;
    }
}

/// The rules, with or without copies for the administrator.
pub fn rules(keep_bcc: bool) -> Arc<Rules> {
    Arc::new(Rules {
        addresses: gateway::addresses(),
        policy: Settings::default(),
        blocklists: None,
        throttle: Throttle::default().allowances(),
        notice: NoticeSettings {
            reverse_path: String::new(),
            max_stranger_subject: 256,
        },
        internal_daemon_name: INTERNAL.to_owned(),
        keep_bcc,
    })
}
