//! `[store]`: the place of the store and its bounds.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[store]`: the place of the store and its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// The database file; its directory must belong to the gateway's user.
    pub(crate) path: PathBuf,
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
            max_requests: 10_000,
            max_bytes: 512 << 20,
            min_free_bytes: 64 << 20,
            strangers_percent: 50,
            newcomers_percent: 10,
            network_percent: 5,
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
