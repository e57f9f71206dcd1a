//! The database's directory and file: made, checked for their modes, and given to their owner.
//!
//! Root may operate a gateway that runs as another user, and must leave no file behind that this
//! user could not open.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use crate::new_file;
use crate::store::database::error::StoreError;

/// Gives a file that this process made to the owner of the database's directory, if this process
/// is root. SQLite itself gives the files beside the database to the database's owner.
///
/// # Errors
/// The error of the operating system.
pub(crate) fn give_to_owner(file: &Path, database: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let directory = match fs::metadata(directory_of(database)) {
        Ok(directory) if directory.uid() != 0 => directory,
        // Root's own, or root makes it together with the database.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // A link is not followed: the directory is another user's.
    lchown(file, Some(directory.uid()), Some(directory.gid()))
}

pub(in crate::store::database) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Refuses a missing or empty file, which SQLite would take for a new database.
pub(super) fn refuse_empty(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(file) if file.len() > 0 => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(cannot("look at the database", path)(error))
        }
        _ => Err(StoreError::Empty {
            place: path.display().to_string(),
        }),
    }
}

/// Makes the directory if it is missing. Refuses one that others may enter.
pub(super) fn prepare_directory(directory: &Path) -> Result<(), StoreError> {
    new_file::create_directory(directory, 0o700)
        .map_err(cannot("create the directory", directory))?;
    // SQLite would only say that it can't open the file.
    access(directory, Access::WRITE_OK)
        .map_err(|error| cannot("write to the directory", directory)(error.into()))?;
    keeps_others_out(directory, 0o700)
}

/// Makes the file with the right mode before SQLite would with another. An existing file is not
/// opened: closing it would drop the locks that SQLite holds on it in this process.
pub(super) fn prepare_file(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => {
            give_to_owner(path, path).map_err(cannot("give away", path))?;
            // The name of the file must reach the disk too.
            let directory = directory_of(path);
            new_file::sync(directory).map_err(cannot("sync the directory", directory))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.is_file() => {
            Err(StoreError::NotAStore {
                path: path.to_owned(),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => keeps_others_out(path, 0o600),
        Err(error) => Err(cannot("create the database", path)(error)),
    }
}

fn keeps_others_out(path: &Path, wanted: u32) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(cannot("read the mode", path))?;
    match metadata.permissions().mode() & 0o7777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(StoreError::Permissions {
            path: path.to_owned(),
            mode,
            wanted,
        }),
    }
}

/// Makes the error of an action that the operating system refused.
pub(crate) fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = PathBuf::from(path);
    move |error| StoreError::Io {
        path,
        action,
        cause: Arc::new(error),
    }
}
