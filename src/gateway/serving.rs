//! The addresses that the running gateway of a database listens at. They are in a
//! file at the database's path, which a gateway with PostgreSQL has too. The file is
//! locked as long as the gateway runs. `check` reads it, and does not report a port of
//! this gateway as in use.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, fcntl_lock},
    process::{Flock, FlockType, fcntl_getlk},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Config, ListenAddress},
    store::give_to_owner,
};

/// More bytes than two addresses need.
const LONGEST: u64 = 16 * 1024;

/// The addresses that a gateway listens at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Held {
    pub(super) milter: ListenAddress,
    pub(super) metrics: Option<SocketAddr>,
}

/// The locked file. Dropping it unlocks the file.
pub(super) struct Serving(#[allow(dead_code, reason = "the lock goes with it")] File);

impl Serving {
    /// Writes and locks the file for the gateway of this configuration. None if
    /// another gateway has the same path, or if nothing is there.
    pub(super) fn begin(config: &Config) -> io::Result<Option<Self>> {
        let store = &config.store;
        let is_there = match store.postgresql {
            None => store.path.exists(),
            Some(_) => store.path.parent().is_some_and(Path::exists),
        };
        if !is_there {
            return Ok(None);
        }
        let path = file_of(config);
        let mut file = opening()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        give_to_owner(&path, &config.store.path)?;
        if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let held = Held {
            milter: config.milter.listen.clone(),
            metrics: config.metrics.listen,
        };
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(&held)?)?;
        Ok(Some(Self(file)))
    }
}

/// The addresses of the running gateway of this database, if one runs.
pub(super) fn held(config: &Config) -> Option<Held> {
    let file = opening().open(file_of(config)).ok()?;
    // The kernel frees the lock however the gateway ends.
    fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Follows no link: the directory may belong to another user than root.
fn opening() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.read(true).custom_flags(flags);
    options
}

fn file_of(config: &Config) -> PathBuf {
    let mut path = config.store.path.clone().into_os_string();
    path.push("-serving");
    Path::new(&path).to_owned()
}
