//! Remembers beside the database that a running gateway found it damaged. The next start then checks
//! everything before it serves, instead of serving until the damage is found again.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::cannot;
use crate::new_file;
use crate::store::database::error::StoreError;

pub(super) fn note(database: &Path, found: &StoreError) -> io::Result<()> {
    let line = format!("{found}\n");
    match new_file::create(&note_of(database), 0o600, line.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        noted => noted,
    }
}

pub(super) fn is_noted(database: &Path) -> bool {
    note_of(database).symlink_metadata().is_ok()
}

/// Removes the note, once the database was found sound.
pub(super) fn forget(database: &Path) -> Result<(), StoreError> {
    let note = note_of(database);
    match fs::remove_file(&note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(cannot("remove the file", &note)(error))
        }
        _ => Ok(()),
    }
}

fn note_of(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push("-damaged");
    PathBuf::from(name)
}
