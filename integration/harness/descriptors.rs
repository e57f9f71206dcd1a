//! The limit of open files of the test's own process, which its gateways inherit.

use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Tests that run side by side read and raise the limit one after the other.
static LIMIT: Mutex<()> = Mutex::new(());

/// Raises the limit to `count`, here and in gateways that are started from now on.
pub fn allow_descriptors(count: u64) {
    let _alone = LIMIT.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = getrlimit(Resource::Nofile);
    let allowed = Rlimit {
        current: limit.current.map(|current| current.max(count)),
        maximum: limit.maximum.map(|maximum| maximum.max(count)),
    };
    setrlimit(Resource::Nofile, allowed).expect("a right of root");
}
