//! The addresses that the running gateway of a database holds, so that `check`
//! takes no port of its own gateway for another's. They are in a file beside the
//! database, which stays locked as long as the gateway runs.

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

/// More than two addresses take.
const LONGEST: u64 = 16 * 1024;

/// What a gateway listens at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Held {
    pub(super) milter: ListenAddress,
    pub(super) metrics: Option<SocketAddr>,
}

/// Says what a gateway holds until it is dropped.
pub(super) struct Serving(#[allow(dead_code, reason = "the lock goes with it")] File);

impl Serving {
    /// Says so for the gateway of this configuration. None where another gateway
    /// has the same database, or none is there.
    pub(super) fn begin(config: &Config) -> io::Result<Option<Self>> {
        if !config.store.path.exists() {
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

/// What the running gateway of the same database holds, if one runs.
pub(super) fn held(config: &Config) -> Option<Held> {
    let file = opening().open(file_of(config)).ok()?;
    // A gateway that ended, however it did, has left no lock behind.
    fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The directory may be another user's than root's: no link is followed.
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
