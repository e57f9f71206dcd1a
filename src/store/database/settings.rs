//! Settings of the store: its path and its bounds.

use std::path::PathBuf;
use std::time::Duration;

/// Path and bounds of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The database file. Its directory must belong to the gateway alone.
    pub path: PathBuf,
    /// Requests and undelivered replies that the spool may hold.
    pub max_requests: u64,
    /// Bytes of messages that the spool may hold.
    pub max_bytes: u64,
    /// Bytes of the file system that new requests leave free, for the answers to accepted ones. 0
    /// for no reserve.
    pub min_free_bytes: u64,
    /// Shares of the spool that strangers may hold.
    pub shares: Shares,
    /// Longest wait for the write lock while another process holds it.
    pub busy_timeout: Duration,
    /// Whether each commit is synced.
    pub synchronous: Synchronous,
}

impl StoreSettings {
    /// The store at a path, with the default bounds.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_requests: 100_000,
            max_bytes: 1 << 30,
            min_free_bytes: 64 << 20,
            shares: Shares {
                strangers: 50,
                newcomers: 10,
                network: 5,
            },
            busy_timeout: Duration::from_secs(10),
            synchronous: Synchronous::Full,
        }
    }
}

/// Shares of the spool, in percent, that strangers' requests and the replies to them may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// All strangers together.
    pub strangers: u8,
    /// Those whose address was never answered.
    pub newcomers: u8,
    /// Those of one client network.
    pub network: u8,
}

/// Whether a commit is synced to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Synced before it returns, as the gateway's 250 promises.
    #[default]
    Full,
    /// Not synced, for the test that shows the difference.
    #[cfg(feature = "test-faults")]
    Off,
}
