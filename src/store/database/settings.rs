//! `[store]`: the place of the store and its bounds.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::postgresql::PostgresqlSettings;

/// The version of the schema that this program makes, and the newest that it knows.
pub(super) const NEWEST_SCHEMA: i64 = 3;

/// `[store]`: the place of the store and its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// The database file; its directory must belong to the gateway's user.
    pub(crate) path: PathBuf,
    /// A PostgreSQL database instead of the file, for several gateways.
    pub(crate) postgresql: Option<PostgresqlSettings>,
    /// Requests and undelivered replies in the spool before new requests get 452.
    pub max_requests: u64,
    /// Bytes of messages in the spool before new requests get 452.
    pub max_bytes: u64,
    /// Bytes of the file system that are left to what was accepted: below that
    /// new requests get 452. 0 for none.
    pub min_free_bytes: u64,
    /// The part of the spool, in percent, that strangers' requests and their
    /// replies may hold: rule `crowded`. The rest is for modules, logins,
    /// authenticated mail and the site's own networks.
    pub strangers_percent: u8,
    /// The part that strangers may hold whose address was never answered.
    pub newcomers_percent: u8,
    /// The part that the strangers of one client network may hold.
    pub network_percent: u8,
    /// Name of this gateway among those of the database: `gateway.node`.
    #[serde(skip)]
    pub(crate) node: String,
    /// How long to wait for the write lock while another process holds it.
    #[serde(skip)]
    pub(crate) busy_timeout: Duration,
    /// Commits without waiting for the disk. This breaks the first promise, for the
    /// test that shows that the promise is kept otherwise.
    #[cfg(feature = "test-faults")]
    pub(crate) synchronous_off: bool,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/kms-gateway/gateway.sqlite3"),
            postgresql: None,
            max_requests: 10_000,
            max_bytes: 512 << 20,
            min_free_bytes: 64 << 20,
            strangers_percent: 50,
            newcomers_percent: 10,
            network_percent: 5,
            node: String::new(),
            busy_timeout: Duration::from_secs(10),
            #[cfg(feature = "test-faults")]
            synchronous_off: false,
        }
    }
}

impl StoreSettings {
    /// The store at a path, with the default bounds.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// The database as errors and the log name it.
    pub(crate) fn place(&self) -> String {
        match &self.postgresql {
            None => self.path.display().to_string(),
            Some(postgresql) => postgresql.to_string(),
        }
    }

    /// Name of this machine in the record of clocks. An SQLite database has one machine, and keeps
    /// its record whatever the machine is called.
    pub(crate) fn clock_node(&self) -> String {
        match self.postgresql {
            None => String::new(),
            Some(_) => self.node.clone(),
        }
    }

    /// Whether a commit is on the disk before it returns. The gateway's 250 is
    /// worth nothing otherwise.
    pub(super) fn is_synchronous(&self) -> bool {
        #[cfg(feature = "test-faults")]
        if self.synchronous_off {
            return false;
        }
        true
    }
}
