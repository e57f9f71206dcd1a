//! Errors of the configuration, each one line with file, key and remedy.

use std::{fmt, io, path::Path};

use crate::{policy::dnsbl::without_keys, printable::Printable};

/// A fault of the configuration. The text is one line with the file, the line
/// number if it is known, the key, the fault and the remedy.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place}: {problem}; {remedy}")]
pub struct ConfigError {
    place: String,
    problem: String,
    remedy: String,
}

/// A value that can't be meant, before the file is known.
pub(super) struct Problem {
    key: &'static str,
    problem: String,
    remedy: String,
}

pub(super) type Checked = Result<(), Problem>;

/// Refuses the value of `key`.
pub(super) fn refuse(
    key: &'static str,
    problem: impl fmt::Display,
    remedy: impl fmt::Display,
) -> Checked {
    Err(Problem {
        key,
        problem: problem.to_string(),
        remedy: remedy.to_string(),
    })
}

impl Problem {
    pub(super) fn of_file(self, path: &Path) -> ConfigError {
        ConfigError::value(path, self.key, self.problem, self.remedy)
    }
}

impl ConfigError {
    fn new(
        place: impl fmt::Display,
        problem: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        Self {
            place: one_line(place),
            problem: one_line(problem),
            remedy: one_line(remedy),
        }
    }

    /// The file can't be read.
    pub(super) fn unreadable(path: &Path, source: &io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::NotFound => "create it, or name another with --config FILE",
            io::ErrorKind::PermissionDenied => "let the gateway's user read it",
            _ => "see that it is a readable text file in UTF-8",
        };
        Self::new(
            path.display(),
            format_args!("can't be read: {source}"),
            remedy,
        )
    }

    /// The file can't be replaced.
    pub(super) fn unwritable(path: &Path, source: &io::Error) -> Self {
        Self::new(
            path.display(),
            format_args!("can't be replaced: {source}"),
            "run this as a user who may write its directory",
        )
    }

    /// No key has this name.
    pub(crate) fn unknown_key(path: &Path, key: &str) -> Self {
        Self::value(
            path,
            key,
            "there is no such key",
            "correct its name; config get lists all of them, as table.key",
        )
    }

    /// The file isn't TOML.
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        Self::new(
            place(path, text, None, error),
            error.message(),
            "write it as TOML: tables in [brackets], key = value, texts in \"quotes\"",
        )
    }

    /// A key is unknown, missing or of the wrong type.
    pub(super) fn key(
        path: &Path,
        text: &str,
        error: &serde_path_to_error::Error<toml::de::Error>,
    ) -> Self {
        let key = error.path().to_string();
        let inner = error.inner();
        let message = match key.starts_with("dnsbl") {
            // The message quotes a value of the wrong type.
            true => without_keys(inner.message()),
            false => inner.message().to_owned(),
        };
        let remedy = if message.starts_with("unknown field") {
            "remove it or correct its name"
        } else if message.starts_with("missing field") {
            "add it"
        } else {
            "correct the value"
        };
        Self::new(place(path, text, Some(&key), inner), message, remedy)
    }

    /// A value that is of the right type and yet can't be meant.
    pub(crate) fn value(
        path: &Path,
        key: &str,
        problem: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        Self::new(format_args!("{}: {key}", path.display()), problem, remedy)
    }
}

fn place(path: &Path, text: &str, key: Option<&str>, error: &toml::de::Error) -> String {
    let mut place = path.display().to_string();
    if let Some(before) = error.span().and_then(|span| text.get(..span.start)) {
        let line = before.matches('\n').count() + 1;
        place.push_str(&format!(":{line}"));
    }
    match key {
        Some(key) if key != "." => format!("{place}: {key}"),
        _ => place,
    }
}

/// Makes one line that does no harm in a journal or a terminal. TOML's texts may
/// hold any character.
fn one_line(text: impl fmt::Display) -> String {
    let text = text.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    Printable(&words.join(" ")).to_string()
}
