//! The state file of a security module. Only its owner may read it, one process
//! at a time uses it, and it is replaced as a whole.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::ModuleError;
use crate::new_file;

/// A state file, locked.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// The file at `path`. Closing it releases its lock.
    locked: File,
}

impl StateFile {
    /// Makes the file. Fails if it exists.
    pub(super) fn create(path: &Path, content: &[u8]) -> Result<Self, ModuleError> {
        new_file::create(path, 0o600, content).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => ModuleError::Exists {
                path: path.to_owned(),
            },
            _ => failed("write", path)(source),
        })?;
        Ok(Self::open(path)?.0)
    }

    /// Opens and locks the file, and reads its content.
    pub(super) fn open(path: &Path) -> Result<(Self, Zeroizing<Vec<u8>>), ModuleError> {
        let opened = File::open(path).map_err(failed("open", path))?;
        let mut locked = locked(opened, path)?;
        let metadata = locked.metadata().map_err(failed("read", path))?;
        // The last process with the lock may have replaced the file since.
        let present = fs::metadata(path).map_err(failed("read", path))?;
        if (metadata.dev(), metadata.ino()) != (present.dev(), present.ino()) {
            return Err(ModuleError::InUse {
                path: path.to_owned(),
            });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(ModuleError::Mode {
                path: path.to_owned(),
                mode,
            });
        }
        // Reserves the room at once, as a growing vector leaves copies of secrets.
        let room = usize::try_from(metadata.len())
            .unwrap_or_default()
            .saturating_add(1);
        let mut content = Zeroizing::new(Vec::with_capacity(room));
        locked
            .read_to_end(&mut content)
            .map_err(failed("read", path))?;
        Ok((
            Self {
                path: path.to_owned(),
                locked,
            },
            content,
        ))
    }

    /// Replaces the content of the file. An error or a crash leaves the old content.
    pub(super) fn replace(&mut self, content: &[u8]) -> Result<(), ModuleError> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        // A crash may have left this file. No other process writes it under our lock.
        let _ = fs::remove_file(&new);
        new_file::create(&new, 0o600, content).map_err(failed("write", &new))?;
        let made = File::open(&new).map_err(failed("open", &new))?;
        let locked = locked(made, &new)?;
        fs::rename(&new, &self.path).map_err(failed("replace", &self.path))?;
        self.locked = locked;
        let directory = new_file::directory_of(&self.path);
        new_file::sync(directory).map_err(failed("sync", directory))
    }
}

fn locked(file: File, path: &Path) -> Result<File, ModuleError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ModuleError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed("lock", path)(source)),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ModuleError {
    let path = path.to_owned();
    move |source| ModuleError::Io {
        action,
        path,
        source,
    }
}
