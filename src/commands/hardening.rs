//! Keeps secrets within the process, for `serve` and every other command.
//!
//! The process dumps no core, whatever limits it was started with. It is not
//! dumpable: only root can trace it, or read its memory and environment in
//! `/proc`. Another process of the same user cannot.
//!
//! `Secret` and `SecretBytes` hold secrets in memory that is locked against
//! swapping. The ciphers' own copies, on the stack and in their types, are wiped
//! but not locked. `MemorySwapMax=0` in the service's unit, or encrypted swap,
//! protects those too.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::CommandError;

/// Turns core dumps and tracing off, for the rest of the process.
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
