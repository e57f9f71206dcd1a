//! Stores of the measurement's own, beside the gateway's: what they have to do, and how fast they
//! do it.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use kms_gateway::{
    audit::ChainKey,
    store::{Accepted, Leasing, NewRequest, Store, StoreSettings},
};

use super::{
    harness::{DATABASE, Postgresql},
    tasks,
};

/// Length of a lease, longer than any measurement.
const HOLD: SignedDuration = SignedDuration::from_hours(1);

/// An engine, with the place of its databases.
#[derive(Clone, Copy)]
pub enum Engine<'a> {
    /// SQLite, in this directory.
    Sqlite(&'a Path),
    Postgresql(&'a Postgresql),
}

/// A new database, gone when this is dropped.
pub struct Database<'a> {
    engine: Engine<'a>,
    name: String,
}

impl<'a> Database<'a> {
    /// An empty one that has no schema yet.
    pub fn new(engine: Engine<'a>, name: &str) -> Self {
        match engine {
            Engine::Sqlite(directory) => {
                let mut builder = DirBuilder::new();
                let made = builder.mode(0o700).create(directory.join(name));
                made.expect("a directory");
            }
            Engine::Postgresql(server) => {
                let create = format!("CREATE DATABASE \"{name}\" OWNER \"{DATABASE}\"");
                server.sql("postgres", &create);
            }
        }
        let name = name.to_owned();
        Self { engine, name }
    }

    /// A store on it, with room for all that is measured.
    pub async fn open(&self) -> Arc<Store> {
        let mut settings = match self.engine {
            Engine::Sqlite(directory) => StoreSettings::new(self.file(directory)),
            Engine::Postgresql(server) => {
                let mut postgresql = server.settings();
                postgresql.insert("database".to_owned(), self.name.as_str().into());
                let store = toml::Table::from_iter([("postgresql".to_owned(), postgresql.into())]);
                store.try_into().expect("settings")
            }
        };
        settings.max_requests = 1_000_000;
        settings.max_bytes = 16 << 30;
        let opened = Store::open(&settings, Some(ChainKey::new(&[7; 32])));
        opened.await.expect("a store")
    }

    /// The file of SQLite's in this directory.
    pub fn file(&self, directory: &Path) -> PathBuf {
        directory.join(&self.name).join("gateway.sqlite3")
    }

    /// Runs statements beside the store.
    pub fn run(&self, statements: &str) {
        match self.engine {
            Engine::Sqlite(directory) => {
                let connection = rusqlite::Connection::open(self.file(directory));
                let connection = connection.expect("the database");
                connection.execute_batch(statements).expect("statements");
            }
            Engine::Postgresql(server) => {
                server.sql(&self.name, statements);
            }
        }
    }

    /// Has PostgreSQL do now what it would do in the minutes after so many new rows.
    pub fn come_to_rest(&self) {
        if let Engine::Postgresql(server) = self.engine {
            server.sql(&self.name, "VACUUM (ANALYZE); CHECKPOINT;");
        }
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        match self.engine {
            Engine::Sqlite(directory) => {
                fs::remove_dir_all(directory.join(&self.name)).expect("a directory");
            }
            Engine::Postgresql(server) => {
                let drop = format!("DROP DATABASE \"{}\" WITH (FORCE)", self.name);
                server.sql("postgres", &drop);
            }
        }
    }
}

/// The rate at which so many tasks have these requests accepted. The tasks use the stores by
/// turns.
pub async fn accept(stores: &[Arc<Store>], tasks: usize, requests: Vec<NewRequest>) -> f64 {
    let requests = requests.into_iter().enumerate();
    let of_stores = requests.map(|(number, request)| {
        let store = &stores[number % stores.len()];
        (store.clone(), request)
    });
    let accept = async |(store, request): (Arc<Store>, NewRequest)| {
        let accepted = store.accept(request).await.expect("room");
        assert_eq!(accepted, Accepted::New);
    };
    tasks::rate(tasks, of_stores.collect(), accept).await
}

/// The rate at which so many tasks lease this number of requests.
pub async fn lease(store: &Arc<Store>, tasks: usize, count: usize) -> f64 {
    let lease = async |store: Arc<Store>| {
        let leased = store.lease(Leasing::alone(Timestamp::now(), HOLD)).await;
        assert!(leased.expect("a store").work().is_some(), "nothing is due");
    };
    tasks::rate(tasks, vec![store.clone(); count], lease).await
}
