//! What keeps secrets within the process, for `serve` and every other command.
//!
//! No core is dumped, whatever limits the process was started with, and it is
//! not dumpable: only root may trace it or read its memory and environment by
//! `/proc`, another process of the same user may not.
//!
//! Secrets lie in a place of their own that is locked into memory (`Secret` and
//! `SecretBytes`), whether they live as long as the process or are opened for
//! one answer. What the ciphers hold of them while they work, on the stack and
//! in their own types, is wiped but not locked: against that an administrator
//! has `MemorySwapMax=0` in the service's unit, or encrypted swap.

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
