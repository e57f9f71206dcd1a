//! A file that gets its name when it is whole. Until then its name ends in `.partial`.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::database::{StoreError, cannot};
use crate::new_file;

/// A file in the making. It is removed if it is dropped before its end.
pub(super) struct PartialFile {
    partial: PathBuf,
    to: PathBuf,
    is_whole: bool,
}

/// The reason why there is no such file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PartialFileError {
    /// The file exists. Nothing is overwritten.
    #[error("{} is there already; name a file that is not", .0.display())]
    Exists(PathBuf),
    /// The partial file exists.
    #[error("{}: another copy is being made there, or did not end; remove it if none is running", .0.display())]
    Unfinished(PathBuf),
    /// The path is not the name of a file.
    #[error("{}: not the name of a file (in UTF-8); name one", .0.display())]
    Name(PathBuf),
    /// The file can't be made.
    #[error(
        "{}: cannot be made: {cause}; name a file in a directory that is there and may be written to",
        path.display()
    )]
    Create {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: io::Error,
    },
    /// The file system failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PartialFile {
    /// Makes an empty file that only its owner may read and write.
    pub(super) fn create(to: &Path) -> Result<Self, PartialFileError> {
        let to = std::path::absolute(to).map_err(|_| PartialFileError::Name(to.to_owned()))?;
        let partial = partial_name(&to)?;
        if to.symlink_metadata().is_ok() {
            return Err(PartialFileError::Exists(to));
        }
        create(&partial)?;
        Ok(Self {
            partial,
            to,
            is_whole: false,
        })
    }

    /// The file while it is filled.
    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// The file when it is whole.
    pub(super) fn to(&self) -> &Path {
        &self.to
    }

    /// Gives the file its name once it is on the disk, unless another file has that name by now.
    /// Returns its size.
    pub(super) fn finish(mut self) -> Result<u64, PartialFileError> {
        let (partial, to) = (&self.partial, &self.to);
        new_file::sync(partial).map_err(cannot("sync the copy", partial))?;
        let size = fs::metadata(partial).map_err(cannot("read the size", partial))?;
        new_file::rename(partial, to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => PartialFileError::Exists(to.clone()),
            _ => cannot("name the copy", to)(error).into(),
        })?;
        self.is_whole = true;
        Ok(size.len())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_whole {
            // The first error matters, not this one.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Such as `gateway.db.partial`. The name shows that the file is not finished.
fn partial_name(to: &Path) -> Result<PathBuf, PartialFileError> {
    let name = to.file_name().filter(|_| !to.is_dir());
    let mut name = OsString::from(name.ok_or_else(|| PartialFileError::Name(to.to_owned()))?);
    name.push(".partial");
    Ok(to.with_file_name(name))
}

fn create(partial: &Path) -> Result<(), PartialFileError> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(PartialFileError::Unfinished(partial.to_owned()))
        }
        Err(cause) => Err(PartialFileError::Create {
            path: partial.to_owned(),
            cause,
        }),
    }
}
