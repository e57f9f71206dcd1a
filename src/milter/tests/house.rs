//! A gateway's milter on a real store, for these tests.

use std::{ffi::CString, net::IpAddr, path::Path, sync::Arc};

use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    audit::{ChainKey, Event},
    kms::{EmbeddedKms, KeyLoadFileSettings},
    mail::{Address, GatewayAddresses},
    milter::{Answer, Gateway, InFlight, Memory, Rules, Session},
    policy::{Settings, Throttle},
    secrets::{Secret, StorageKey},
    store::{NoticeSettings, Store, StoreSettings},
    time::{SystemClock, WatchedClock},
};

pub(super) const OURS: &str = "<gateway@kms.example.org>";
pub(super) const REQUEST: [(&str, &str); 5] = [
    ("From", " alice@vendor.example"),
    ("To", " gateway@kms.example.org"),
    ("Subject", " {KMS:Help}"),
    ("Date", " Tue, 24 Nov 2026 03:12:00 +0000"),
    ("Message-ID", " <1@vendor.example>"),
];

pub(super) struct House {
    pub(super) storage_key: StorageKey,
    pub(super) gateway: Arc<Gateway>,
    pub(super) store: Arc<Store>,
    pub(super) rules: watch::Sender<Arc<Rules>>,
    _directory: TempDir,
}

pub(super) fn rules(keep_bcc: bool) -> Arc<Rules> {
    let address = Address::parse("gateway@kms.example.org").unwrap();
    Arc::new(Rules {
        addresses: GatewayAddresses::new(vec![address], "+"),
        policy: Settings::default(),
        blocklists: None,
        throttle: Throttle::default().allowances(),
        notice: NoticeSettings {
            reverse_path: String::new(),
            max_stranger_subject: 256,
        },
        internal_daemon_name: "internal".to_owned(),
        keep_bcc,
    })
}

pub(super) fn settings(directory: &Path) -> StoreSettings {
    StoreSettings::new(directory.join("state").join("gateway.sqlite3"))
}

pub(super) async fn house_with(change: impl FnOnce(&mut StoreSettings)) -> House {
    let directory = TempDir::new().unwrap();
    let mut settings = settings(directory.path());
    change(&mut settings);
    let store = Store::open(&settings, Some(ChainKey::new(&[7; 32])))
        .await
        .unwrap();
    let (sender, receiver) = watch::channel(rules(false));
    let sealing: Secret<32> = Secret::random().unwrap();
    let storage_key = || StorageKey::new(Secret::copied_from(sealing.expose()).unwrap());
    let kms =
        EmbeddedKms::new(store.clone(), storage_key(), KeyLoadFileSettings::default()).unwrap();
    let gateway = Arc::new(Gateway {
        store: store.clone(),
        kms: Arc::new(kms),
        clock: Arc::new(WatchedClock::unknown(Arc::new(SystemClock))),
        rules: receiver,
        in_flight: InFlight::default(),
        memory: Memory::new(16 << 20),
    });
    House {
        storage_key: storage_key(),
        gateway,
        store,
        rules: sender,
        _directory: directory,
    }
}

pub(super) async fn house() -> House {
    house_with(|_| ()).await
}

pub(super) fn c_string(text: &str) -> CString {
    CString::new(text).unwrap()
}

impl House {
    pub(super) fn session(&self, daemon_name: &str) -> Session {
        Session::new(
            self.gateway.clone(),
            daemon_name,
            "mail.kms.example.org".to_owned(),
            Some(IpAddr::from([192, 0, 2, 1])),
        )
    }

    /// Sends a message and returns the answers to DATA and end-of-message.
    pub(super) async fn send(
        &self,
        session: &mut Session,
        recipients: &[&str],
        headers: &[(&str, &str)],
    ) -> (Answer, Answer) {
        session.mail("<alice@vendor.example>".to_owned(), false);
        for recipient in recipients {
            assert_eq!(
                session
                    .recipient(c_string(recipient), None, "NOQUEUE")
                    .await,
                Answer::Continue
            );
        }
        let data = session.data();
        add_fields(session, headers);
        session.body(b"hello\r\n");
        (data, session.end_of_message("4QUEUEID").await)
    }

    pub(super) async fn spooled(&self) -> u64 {
        self.store.spool_usage().await.unwrap().requests
    }

    pub(super) async fn events(&self) -> Vec<(Event, Option<String>)> {
        let entries = self.store.audit_entries(1, 100).await.unwrap();
        entries
            .into_iter()
            .map(|stored| stored.entry().unwrap())
            .map(|entry| (entry.event, entry.rule))
            .collect()
    }
}

/// Adds header fields to the message of a session.
pub(super) fn add_fields(session: &mut Session, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        session.header(name.as_bytes(), value.as_bytes());
    }
}
