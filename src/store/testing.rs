//! A store in a directory of its own, and values to put into it, for the tests of this folder.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::fs::DirBuilder;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_blocking};

use super::database::sqlite::{Access, SqliteConnection};
use super::database::{Connection, FromCell};
use super::spool::reply_port::ReplyPort;
use super::spool::{deliveries, requests};
use super::*;
use crate::audit::{ChainKey, Entry, Event};
use crate::mail::{Message, NoticeCode, Request, ServiceCode};
use crate::policy::{Charges, Trust};
use crate::sts::{Dkga, Sgc, SmId, VendingKeyAttributes};
use crate::{
    kms::{Curve, Effects, KlfIssued, KmcKeyRow, ModuleRow, ModuleState, Revision, VendingKeyRow},
    request_id::RequestId,
    secrets::Sealed,
};

/// A store of its own. On SQLite it has a directory of its own too.
pub(crate) struct TestStore {
    _directory: Option<Arc<TempDir>>,
    pub(crate) settings: StoreSettings,
    pub(crate) store: Arc<Store>,
}

impl TestStore {
    /// A store of the engine that this run of the tests is for.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(set: impl FnOnce(&mut StoreSettings)) -> Self {
        match testing_server::is_wanted() {
            true => Self::on_postgresql(set).await,
            false => Self::on_sqlite(set).await,
        }
    }

    /// A store on PostgreSQL in any run.
    pub(crate) async fn postgresql() -> Self {
        Self::on_postgresql(|_| {}).await
    }

    async fn on_postgresql(set: impl FnOnce(&mut StoreSettings)) -> Self {
        let settings = spawn_blocking(testing_server::new_store);
        let mut settings = settings.await.unwrap();
        set(&mut settings);
        Self::open(None, settings).await
    }

    /// A store on SQLite in any run, for tests of what only SQLite has.
    pub(crate) async fn sqlite() -> Self {
        Self::on_sqlite(|_| {}).await
    }

    pub(crate) async fn on_sqlite(set: impl FnOnce(&mut StoreSettings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = StoreSettings::new(directory.path().join("store/gateway.db"));
        set(&mut settings);
        Self::open(Some(Arc::new(directory)), settings).await
    }

    async fn open(directory: Option<Arc<TempDir>>, settings: StoreSettings) -> Self {
        let store = Store::open(&settings, Some(chain_key())).await.unwrap();
        Self {
            _directory: directory,
            settings,
            store,
        }
    }

    /// Another handle on the same database, as another process has it.
    pub(crate) async fn another(&self) -> Arc<Store> {
        Store::open(&self.settings, Some(chain_key()))
            .await
            .unwrap()
    }

    /// The database as a crash of the gateway would leave it now, opened again: of SQLite a copy of
    /// its files.
    pub(crate) async fn after_crash(&self) -> Self {
        if self.settings.postgresql.is_some() {
            return Self::open(None, self.settings.clone()).await;
        }
        Self::on_sqlite(|settings| {
            let directory = settings.path.parent().unwrap();
            DirBuilder::new().mode(0o700).create(directory).unwrap();
            for suffix in ["", "-wal"] {
                let from = format!("{}{suffix}", self.settings.path.display());
                let to = format!("{}{suffix}", settings.path.display());
                std::fs::copy(from, to).unwrap();
            }
        })
        .await
    }

    /// A connection to an SQLite database that knows nothing of this program, as `sqlite3` has it.
    pub(crate) fn sqlite3(&self) -> Connection {
        let connection = SqliteConnection::plain(&self.settings.path, Access::Write);
        Connection::Sqlite(connection.unwrap())
    }

    /// A connection beside the store's own.
    async fn beside<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> T {
        let settings = self.settings.clone();
        let running = spawn_blocking(move || {
            let mut connection = match settings.postgresql {
                None => SqliteConnection::plain(&settings.path, Access::Write)
                    .map(Connection::Sqlite)
                    .unwrap(),
                Some(_) => Connection::writing(&settings).unwrap(),
            };
            run(&mut connection)
        });
        running.await.unwrap()
    }

    /// Runs a statement on such a connection.
    pub(crate) async fn execute(&self, statement: &str) -> u64 {
        let statement = statement.to_owned();
        self.beside(move |connection| connection.execute(&statement, &[]).unwrap())
            .await
    }

    /// Reads a value on such a connection.
    pub(crate) async fn scalar<T>(&self, statement: &str) -> T
    where
        T: FromCell + Send + 'static,
    {
        let statement = statement.to_owned();
        self.beside(move |connection| connection.scalar(&statement, &[]).unwrap())
            .await
    }

    /// Adds ten thousand requests like the first one, each of another sender. PostgreSQL's statistics
    /// are still from when there were few.
    pub(crate) async fn add_many_requests(&self) {
        self.execute(
            "WITH RECURSIVE numbers (n) AS
                 (VALUES (2) UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
             INSERT INTO requests (id, accepted_at, queue_id, reverse_path, sender, size,
                 waits_since, waits_until, turn, service, gateway, targets, target, requester)
             SELECT 'id' || n, accepted_at, queue_id, reverse_path, 'sender' || n, size,
                 waits_since + n, waits_until + n, 1, service, gateway, targets, 'target' || n,
                 requester
             FROM numbers CROSS JOIN requests WHERE sequence = 1",
        )
        .await;
    }

    /// How the engine would run a statement, in its words.
    pub(crate) async fn plan(&self, statement: &str) -> String {
        let (explain, column) = match self.settings.postgresql {
            Some(_) => ("EXPLAIN", "QUERY PLAN"),
            None => ("EXPLAIN QUERY PLAN", "detail"),
        };
        let statement = format!("{explain} {statement}");
        let steps = self.store.read(move |connection| {
            let rows = connection.all(&statement, &[])?;
            rows.iter().map(|row| row.get(column)).collect()
        });
        let steps: Vec<String> = steps.await.unwrap();
        steps.join("\n")
    }

    /// Fails if a statement for what is due at $1 sorts rows, instead of reading them in the order of
    /// an index.
    pub(crate) async fn require_no_sort(&self, statement: &str) {
        let now = at(9999).as_microsecond().to_string();
        let statement = statement.replace("$1", &now).replace("$2", &now);
        let plan = self.plan(&statement).await;
        for sort in ["Sort", "TEMP B-TREE"] {
            assert!(!plan.contains(sort), "{plan}");
        }
    }

    /// The audit log's events, with the ids of the requests.
    pub(crate) async fn events(&self) -> Vec<(Event, Option<String>)> {
        let entries = self.store.audit_entries(1, u32::MAX).await.unwrap();
        entries
            .iter()
            .map(|stored| stored.entry().unwrap())
            .map(|entry| (entry.event, entry.request_id))
            .collect()
    }

    /// The newest audit entry.
    pub(crate) async fn last_entry(&self) -> Entry {
        let entries = self.store.audit_entries(1, u32::MAX).await.unwrap();
        entries.last().unwrap().entry().unwrap()
    }

    /// Appends an audit entry, which is never counted.
    pub(crate) async fn append(&self, entry: Entry) {
        let appended = self
            .store
            .change(move |changes| changes.audit(entry.clone()));
        appended.await.unwrap();
    }

    pub(crate) async fn lease(&self, now: Timestamp) -> Option<LeasedRequest> {
        let found = self.store.lease(Leasing::alone(now, HOLD)).await;
        found.unwrap().work()
    }

    pub(crate) async fn lease_delivery(&self, now: Timestamp) -> Option<LeasedDelivery> {
        let leasing = Leasing::alone(now, HOLD);
        let found = self.store.lease_delivery(leasing, PORT).await;
        found.unwrap().work()
    }

    /// The number of the next request that is leased, by a task that finds none now and waits. It
    /// waits already when this returns.
    pub(crate) async fn lease_later(&self, now: Timestamp) -> JoinHandle<RequestId> {
        let waiting = self.store.waiting_looks();
        let store = self.store.clone();
        let leasing = tokio::spawn(async move {
            loop {
                let found = store.lease(Leasing::alone(now, HOLD)).await.unwrap();
                let Looked::Nothing(since) = found else {
                    panic!("a request was due: {found:?}");
                };
                let terms = move || Leasing::alone(now, HOLD);
                let found = store.lease_when_due(since, terms, pending()).await;
                if let Some(Looked::Work(leased)) = found.unwrap() {
                    return leased.id;
                }
            }
        });
        while self.store.waiting_looks() == waiting {
            tokio::task::yield_now().await;
        }
        leasing
    }

    /// When a request falls due, or the lease of one ends.
    pub(crate) async fn next_request(&self) -> Option<Timestamp> {
        self.store.read(requests::next_due).await.unwrap()
    }

    /// The same for deliveries at the tests' port.
    pub(crate) async fn next_delivery(&self, now: Timestamp) -> Option<Timestamp> {
        let port = ReplyPort::at(PORT, &self.settings);
        let next_due =
            move |connection: &mut Connection| deliveries::next_due(&port, now, connection);
        self.store.read(next_due).await.unwrap()
    }
}

/// Takes request `number` to a reply for these targets.
pub(crate) async fn reply(test: &TestStore, number: u8, targets: &[&str]) {
    test.store.accept(request(number)).await.unwrap();
    let leased = test.lease(at(number.into())).await.unwrap();
    let completion = completion(at(number.into()), targets);
    test.store
        .complete(&leased.token, completion)
        .await
        .unwrap();
}

impl Postponement {
    /// A postponement for a reason of the target's, with no notice.
    pub(crate) fn plain(at: Timestamp, until: Timestamp, reason: &str) -> Self {
        Self {
            at,
            until,
            reason: reason.to_owned(),
            refused: false,
            late_if_by: Timestamp::MIN,
        }
    }
}

/// The port to which the tests hand replies.
pub(crate) const PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18025);

/// How long the tests hold a lease.
pub(crate) const HOLD: SignedDuration = SignedDuration::from_mins(5);

pub(crate) fn chain_key() -> ChainKey {
    ChainKey::new(&[7; 32])
}

/// So many seconds after the tests' beginning of time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let beginning: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    beginning + SignedDuration::from_secs(seconds)
}

pub(crate) fn id(number: u8) -> RequestId {
    RequestId::from_bytes([number; 16])
}

/// An operator's order.
pub(crate) fn order(second: i64) -> Order {
    Order {
        at: at(second),
        operator: "jane (uid 1000)".to_owned(),
    }
}

/// A request of a sender of its own, accepted `number` seconds after the
/// beginning.
pub(crate) fn request(number: u8) -> NewRequest {
    let accepted_at = at(number.into());
    NewRequest {
        forget_before: accepted_at - NewRequest::IDENTITY_KEPT,
        id: id(number),
        accepted_at,
        queue_id: format!("QUEUE{number}"),
        reverse_path: format!("sender{number}@vendor.example"),
        client: Some([192, 0, 2, number].into()),
        sender: format!("sender{number}@vendor.example"),
        trust: Trust::SitesOwn,
        network: None,
        request: asking(&format!("sender{number}@vendor.example")),
        identity: Some([number; 32]),
        message: format!("Subject: {{KMS:Help}} {number}\r\n\r\n").into_bytes(),
        charges: Charges::default(),
        notice: NoticeSettings::default(),
        audit: Entry::new(accepted_at, Event::Judged),
    }
}

/// A request for help that is answered at this address.
pub(crate) fn asking(target: &str) -> Request {
    Request::judged(
        &Message::from_bytes(b"Subject: {KMS:Help}\r\n\r\n"),
        ServiceCode::Help,
        "kms@gateway.example".parse().unwrap(),
        vec![target.parse().unwrap()],
    )
}

/// A notice for the tests.
pub(crate) fn notice(code: NoticeCode, until: Timestamp) -> FinishedReply {
    FinishedReply {
        message: format!("X-Gateway-Result: {code} {until}\r\n\r\n").into_bytes(),
        reverse_path: String::new(),
        targets: vec!["a@b.example".to_owned()],
    }
}

pub(crate) fn completion(at: Timestamp, targets: &[&str]) -> Completion {
    Completion {
        at,
        reply: Some(FinishedReply {
            message: b"Subject: Auto: {KMS:Help}\r\n\r\n".to_vec(),
            reverse_path: String::new(),
            targets: targets.iter().map(ToString::to_string).collect(),
        }),
        effects: Effects::None,
        audit: Entry::new(at, Event::Judged),
    }
}

pub(crate) fn smid() -> SmId {
    "SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB47EA:2642"
        .parse()
        .unwrap()
}

pub(crate) fn sgc(text: &str) -> Sgc {
    text.parse().unwrap()
}

pub(crate) fn module_row() -> ModuleRow {
    ModuleRow {
        smid: smid(),
        hardware: "Prism-TSM250-1".parse().unwrap(),
        state: ModuleState::Active,
        sgcs: [sgc("000439"), sgc("600727")].into(),
        sealed_dak: Sealed::from_bytes(vec![1, 2, 3]),
    }
}

pub(crate) fn kmc_key_row() -> KmcKeyRow {
    KmcKeyRow {
        kmcid: "KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:6850"
            .parse()
            .unwrap(),
        curve: Curve::P384,
        public_key: "04ABCD".parse().unwrap(),
        activation: "20200622T140747Z".parse().unwrap(),
        expiry: "20230601T000000Z".parse().unwrap(),
        sealed_private_key: Sealed::from_bytes(vec![4, 5, 6]),
    }
}

pub(crate) fn vending_key_row(sgc: &str) -> VendingKeyRow {
    VendingKeyRow {
        attributes: VendingKeyAttributes {
            sgc: sgc.parse().unwrap(),
            krn: "1".parse().unwrap(),
            kt: "2".parse().unwrap(),
            ken: 255,
            bdt: "2014".parse().unwrap(),
            dkga: Dkga::D04,
            act: "20200101T000000Z".parse().unwrap(),
            iut: None,
            ulm: u32::MAX,
            clm: 17,
        },
        expires: Some("99991231T235959Z".parse().unwrap()),
        kcv: "0AB1C2".parse().unwrap(),
        sealed_key: Sealed::from_bytes(vec![7, 8, 9]),
    }
}

pub(crate) fn klf_issued(basis: Revision) -> KlfIssued {
    KlfIssued {
        smid: smid(),
        replay_key: [9; 32],
        request_time: "20260301T115900Z".parse().unwrap(),
        keys: vec![(sgc("000439"), "1".parse().unwrap())],
        limit: None,
        basis,
    }
}
