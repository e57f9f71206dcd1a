//! `[kms]`: which key management system answers.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, Period};

/// `[kms]`: an external key management system instead of the embedded one.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Kms {
    /// Its Unix socket; without one the embedded system answers.
    pub socket: Option<PathBuf>,
    /// For a connection to be taken.
    pub connect_timeout: Period,
    /// For a question to be read.
    pub request_timeout: Period,
    /// From there to the end of the answer.
    pub answer_timeout: Period,
    /// For all of it where a message waits to be accepted, to learn whether a
    /// module made the request. Beyond that it is taken for anybody's.
    pub acceptance_timeout: Period,
}

impl Default for Kms {
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

/// Postfix waits for the end of a message, and the client behind it.
const LONGEST_ACCEPTANCE: Period = Period::from_secs(2);

const SHORTEST_WAIT: Duration = Duration::from_millis(10);

impl Config {
    /// What holds where an external system is named; without one nothing of
    /// the table counts.
    pub(super) fn check_kms(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, problem: &str, remedy| Err(ConfigError::value(path, key, problem, remedy));
        let kms = &self.kms;
        let Some(socket) = &kms.socket else {
            return Ok(());
        };
        if !socket.is_absolute() {
            return refuse(
                "kms.socket",
                "it is no absolute path",
                "write a path such as \"/run/kms/kms.sock\"",
            );
        }
        let waits = [
            ("kms.connect_timeout", kms.connect_timeout),
            ("kms.request_timeout", kms.request_timeout),
            ("kms.answer_timeout", kms.answer_timeout),
            ("kms.acceptance_timeout", kms.acceptance_timeout),
        ];
        for (key, wait) in waits {
            if wait.as_std() < SHORTEST_WAIT {
                return refuse(
                    key,
                    "it is shorter than 10 ms",
                    "write a time such as \"1s\"",
                );
            }
        }
        if kms.acceptance_timeout > LONGEST_ACCEPTANCE {
            return refuse(
                "kms.acceptance_timeout",
                "it is longer than 2 s, for which each message would wait",
                "write a time such as \"1s\"",
            );
        }
        if !self.module_update.stsa_keys.is_empty() {
            return refuse(
                "module_update.stsa_keys",
                "the external key management system that kms.socket names judges update files",
                "remove them here, and have that system trust them",
            );
        }
        Ok(())
    }
}
