//! The memory of an installation: the directory `kms-gateway` beside main.cf, which stays
//! until the gateway is taken out.
//!
//! It holds the original files. `state` lists the entries of the last run. `state.next`
//! lists the entries of a run that has not ended. Everything that either lists is the
//! gateway's. A run that is killed at any moment leaves a state from which another run or
//! an uninstallation can go on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::WiringError;
use crate::new_file;

/// The entries of one run: names and values.
pub(super) type State = BTreeMap<String, String>;

/// The three files that the installer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Changed {
    Main,
    Master,
    Gateway,
}

impl Changed {
    pub(super) const ALL: [Self; 3] = [Self::Main, Self::Master, Self::Gateway];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Main => "main.cf",
            Self::Master => "master.cf",
            Self::Gateway => "gateway.toml",
        }
    }
}

/// The directory and its content.
#[derive(Debug)]
pub(super) struct Kept {
    directory: PathBuf,
    recorded: State,
    planned: State,
}

impl Kept {
    /// Reads the directory beside the main.cf in `postfix`.
    pub(super) fn read(postfix: &Path) -> Result<Self, WiringError> {
        let directory = postfix.join("kms-gateway");
        Ok(Self {
            recorded: read_state(&directory.join("state"))?,
            planned: read_state(&directory.join("state.next"))?,
            directory,
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn original(&self, file: Changed) -> PathBuf {
        self.directory.join(file.name())
    }

    pub(super) fn is_installed(&self) -> bool {
        ["state", "state.next"]
            .iter()
            .any(|name| self.directory.join(name).exists())
    }

    /// A value that the last run set, or was about to set; none if it is empty.
    pub(super) fn known(&self, key: &str) -> Option<&str> {
        let found = self.planned.get(key).or_else(|| self.recorded.get(key))?;
        Some(found.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether one of the last runs set this value.
    pub(super) fn is_ours(&self, key: &str, value: &str) -> bool {
        !value.is_empty()
            && [&self.recorded, &self.planned]
                .iter()
                .any(|state| state.get(key).is_some_and(|known| known == value))
    }

    /// The values of the last runs for a key.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        [&self.recorded, &self.planned]
            .into_iter()
            .filter_map(move |state| state.get(key))
            .map(String::as_str)
    }

    /// The rest of each key that begins with `prefix`, without duplicates.
    pub(super) fn named(&self, prefix: &str) -> Vec<String> {
        let keys = self.recorded.keys().chain(self.planned.keys());
        let mut names: Vec<String> = keys
            .filter_map(|key| key.strip_prefix(prefix))
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether only the installer has changed the file since its original was kept.
    pub(super) fn is_unedited(&self, file: Changed, path: &Path) -> Result<bool, WiringError> {
        let original = self.original(file);
        if self.known(&format!("edited:{}", file.name())).is_some() || !original.exists() {
            return Ok(false);
        }
        let sum = sum_of(path)?;
        Ok(self.is_ours(&format!("sum:{}", file.name()), &sum) || sum == sum_of(&original)?)
    }

    /// Writes `state.next`, before the first file changes.
    pub(super) fn plan(&self, next: &State) -> Result<(), WiringError> {
        let new = self.directory.join("state.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            for (key, value) in next {
                writeln!(file, "{key}={value}")?;
            }
            file.sync_all()?;
            fs::rename(&new, self.directory.join("state.next"))?;
            new_file::sync(&self.directory)
        };
        write().map_err(WiringError::file(&new, "written"))
    }

    /// Notes that all planned changes are made.
    pub(super) fn complete(&self) -> Result<(), WiringError> {
        let next = self.directory.join("state.next");
        if !next.exists() {
            return Ok(());
        }
        fs::rename(&next, self.directory.join("state"))
            .and_then(|()| new_file::sync(&self.directory))
            .map_err(WiringError::file(&next, "renamed"))
    }

    /// Removes the directory. The state goes first: without it nothing is installed.
    pub(super) fn forget(&self) -> Result<(), WiringError> {
        for name in ["state", "state.next"] {
            let file = self.directory.join(name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(WiringError::file(&file, "removed")(error));
                }
                _ => {}
            }
        }
        remove_directory(&self.directory)
    }
}

/// Removes a directory with its content, if it exists.
pub(super) fn remove_directory(directory: &Path) -> Result<(), WiringError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(WiringError::file(directory, "removed")(error))
        }
        _ => Ok(()),
    }
}

/// The SHA-256 of a file's content, in hexadecimal.
pub(super) fn sum_of(path: &Path) -> Result<String, WiringError> {
    let content = fs::read(path).map_err(WiringError::file(path, "read"))?;
    Ok(hex::encode(Sha256::digest(content)))
}

fn read_state(path: &Path) -> Result<State, WiringError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::new()),
        read => read.map_err(WiringError::file(path, "read"))?,
    };
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}
