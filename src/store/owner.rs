//! Whose the files are. Root may operate a gateway that runs as another user,
//! and leaves no file behind that this user could not open.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, lchown},
    path::Path,
};

use rustix::process::geteuid;

/// Gives a file that this process made to the owner of the database's
/// directory, if this process is root. What SQLite makes beside the database it
/// gives to the database's owner by itself.
///
/// # Errors
/// As the operating system tells.
pub fn give_to_owner(file: &Path, database: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let directory = match fs::metadata(super::open::directory_of(database)) {
        Ok(directory) if directory.uid() != 0 => directory,
        // Root's own, or made by root when the database is.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // Never what a link leads to: the directory is another user's.
    lchown(file, Some(directory.uid()), Some(directory.gid()))
}
