//! Where the store is and what it may hold.

use std::path::PathBuf;
use std::time::Duration;

/// Where the store is and what it may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The database file. Its directory must be the gateway's own.
    pub path: PathBuf,
    /// How many requests and undelivered replies the spool may hold.
    pub max_requests: u64,
    /// How many bytes of messages the spool may hold.
    pub max_bytes: u64,
    /// How many bytes of the file system are left to what was accepted: below
    /// that no more is. 0 for none.
    pub min_free_bytes: u64,
    /// What of the spool strangers may hold.
    pub shares: Shares,
    /// How long to wait for the write lock while another process holds it.
    pub busy_timeout: Duration,
    /// When a commit is on the disk.
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

/// The parts of the spool, in percent, that strangers' requests and the replies
/// to them may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// All strangers together.
    pub strangers: u8,
    /// Those whose address was never answered.
    pub newcomers: u8,
    /// Those of one client network.
    pub network: u8,
}

/// When a commit is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Before it returns. The gateway's 250 is worth nothing otherwise.
    #[default]
    Full,
    /// Whenever the kernel likes: for the test that shows the difference.
    #[cfg(feature = "test-faults")]
    Off,
}
