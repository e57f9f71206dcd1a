//! `[kms]`: the socket of an external system, and the limits for its answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::time::Period;

/// `[kms]`: an external key management system instead of the embedded one.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RemoteSettings {
    /// The system's Unix socket. Without one the embedded system answers.
    pub(crate) socket: Option<PathBuf>,
    /// The longest time for a connection to be taken.
    pub(crate) connect_timeout: Period,
    /// The longest time for a question to be read.
    pub(crate) request_timeout: Period,
    /// The longest time from there to the end of the answer.
    pub(crate) answer_timeout: Period,
    /// The longest time for a whole question while a message waits to be accepted,
    /// to learn whether a module made the request. After that the sender counts as a
    /// stranger.
    pub(crate) acceptance_timeout: Period,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            socket: None,
            connect_timeout: Period::from_secs(2),
            request_timeout: Period::from_secs(5),
            answer_timeout: Period::from_secs(20),
            acceptance_timeout: Period::from_secs(1),
        }
    }
}
