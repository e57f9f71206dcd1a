//! What keeps secrets within the process, for `serve` and every other command.
//!
//! No core is dumped, whatever limits the process was started with, and it is
//! not dumpable: only root may trace it or read its memory and environment by
//! `/proc`, another process of the same user may not.
//!
//! The storage key and the audit log's key, which live as long as the process,
//! are locked into memory where they are opened. What is derived and opened for
//! one answer is not: locking (mlock(2)) goes by whole pages, which secrets on
//! the heap share with everything else, so that in time it would be most of the
//! process. Against that an administrator has `MemorySwapMax=0` in the
//! service's unit, or encrypted swap.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::CommandError;

/// Turns core dumps and tracing off, for good.
pub(super) fn keep_secrets_in() -> Result<(), CommandError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .map_err(|error| {
            CommandError::other(format!(
                "core dumps can't be turned off: {error}; allow setrlimit and prctl to this process"
            ))
        })
}
