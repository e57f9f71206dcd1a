//! Copies the database while it is in use.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::audit::log;
use super::database::sqlite::{Access, SqliteConnection, integrity};
use super::database::{Connection, DatabaseError, Store, StoreError, StoreSettings, cannot};
use crate::audit::Head;
use crate::new_file;

/// A finished copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    pub(crate) bytes: u64,
    /// The newest audit entry in it.
    pub(crate) head: Head,
}

/// The reason why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BackupError {
    /// The file exists. Nothing is overwritten.
    #[error("{} is there already; name a file that is not", .0.display())]
    Exists(PathBuf),
    /// The partial file of another copy exists.
    #[error("{}: another backup is being made there, or did not end; remove it if none is running", .0.display())]
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
    /// SQLite could not copy the database.
    #[error("{} can't be copied to {}: {cause}{}", from.display(), to.display(), cause.remedy())]
    Copy {
        /// The database.
        from: PathBuf,
        /// The copy.
        to: PathBuf,
        /// The database's error.
        cause: DatabaseError,
    },
    /// The file system failed, or the copy is not sound.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Copies the database, as it is at one moment, to a new file. Others go on reading and writing
    /// meanwhile. Afterwards the copy is checked and on the disk. After an error there is none.
    ///
    /// # Errors
    /// [`BackupError`], each with its remedy.
    pub(crate) async fn backup(&self, to: &Path) -> Result<Backup, BackupError> {
        let to = std::path::absolute(to).map_err(|_| BackupError::Name(to.to_owned()))?;
        let partial = partial_name(&to)?;
        if to.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(to));
        }
        create(&partial)?;
        let from = self.settings().clone();
        let made = spawn_blocking(move || {
            let made = copy(&from, &partial, &to);
            if made.is_err() {
                // The first error matters, not this one.
                let _ = fs::remove_file(&partial);
            }
            made
        });
        made.await.unwrap_or(Err(StoreError::Closed.into()))
    }
}

/// Makes the copy as `partial`, and renames it at the end.
fn copy(from: &StoreSettings, partial: &Path, to: &Path) -> Result<Backup, BackupError> {
    vacuum_into(from, partial)?;
    let head = checked(partial)?;
    new_file::sync(partial).map_err(cannot("sync the copy", partial))?;
    let bytes = fs::metadata(partial)
        .map_err(cannot("read the size", partial))?
        .len();
    rename(partial, to)?;
    Ok(Backup { bytes, head })
}

fn vacuum_into(from: &StoreSettings, partial: &Path) -> Result<(), BackupError> {
    let failed = |cause| BackupError::Copy {
        from: from.path.clone(),
        to: partial.to_owned(),
        cause,
    };
    let name = partial.to_str();
    let name = name.ok_or_else(|| BackupError::Name(partial.to_owned()))?;
    // The copying changes nothing here.
    let mut connection = SqliteConnection::open(from, Access::Read).map_err(failed)?;
    connection
        .execute("VACUUM INTO $1", &[&name])
        .map_err(failed)?;
    connection.close().map_err(failed)
}

/// Such as `gateway.db.partial`. The name shows that the file is not finished.
fn partial_name(to: &Path) -> Result<PathBuf, BackupError> {
    let name = to.file_name().filter(|_| !to.is_dir());
    let mut name = OsString::from(name.ok_or_else(|| BackupError::Name(to.to_owned()))?);
    name.push(".partial");
    Ok(to.with_file_name(name))
}

/// Makes the empty file, which SQLite then fills, with the right mode.
fn create(partial: &Path) -> Result<(), BackupError> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(BackupError::Unfinished(partial.to_owned()))
        }
        Err(cause) => Err(BackupError::Create {
            path: partial.to_owned(),
            cause,
        }),
    }
}

/// Checks the copy as `serve` would, and reads its audit log's head.
fn checked(copy: &Path) -> Result<Head, StoreError> {
    let failed = |error| integrity::failed(error, copy);
    // Nothing writes to it.
    let connection = SqliteConnection::plain(copy, Access::ReadAlone).map_err(failed)?;
    connection
        .run("PRAGMA cell_size_check = ON")
        .map_err(failed)?;
    let mut connection = Connection::Sqlite(connection);
    integrity::check(&mut connection, copy)?;
    let head = log::head(&mut connection).map_err(failed)?;
    connection.close().map_err(failed)?;
    Ok(head)
}

/// Gives the copy its name, unless another file has that name by now.
fn rename(partial: &Path, to: &Path) -> Result<(), BackupError> {
    new_file::rename(partial, to).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => cannot("name the copy", to)(error).into(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::store::testing::{TestStore, chain_key, request};
    use crate::store::{StoreSettings, testing};

    fn directory(test: &TestStore) -> PathBuf {
        test.settings.path.parent().unwrap().to_owned()
    }

    fn files(test: &TestStore) -> Vec<String> {
        let entries = fs::read_dir(directory(test)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_copy_made_in_use_is_a_store_of_one_moment() {
        let test = TestStore::sqlite().await;
        for number in 0..20 {
            test.store.accept(request(number)).await.unwrap();
        }
        let to = directory(&test).join("copy");
        let store = test.store.clone();
        let accepting = tokio::spawn(async move {
            for number in 20..120 {
                store.accept(request(number)).await.unwrap();
            }
        });
        let backup = test.store.backup(&to).await.unwrap();
        accepting.await.unwrap();

        let metadata = fs::metadata(&to).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        assert_eq!(metadata.len(), backup.bytes);
        let names = ["copy", "gateway.db", "gateway.db-shm", "gateway.db-wal"];
        assert_eq!(files(&test), names);

        let settings = StoreSettings::new(&to);
        let copy = Store::open_checked(&settings, Some(chain_key()))
            .await
            .unwrap();
        assert_eq!(copy.verify_audit(None).await.unwrap(), Ok(backup.head));
        let held = copy.spool_usage().await.unwrap().requests;
        assert_eq!(i64::try_from(held).unwrap(), backup.head.sequence);
        assert!(held >= 20);
        copy.accept(request(200)).await.unwrap();
        assert_eq!(test.store.spool_usage().await.unwrap().requests, 120);
    }

    #[tokio::test]
    async fn what_is_there_is_left_as_it_is() {
        let test = TestStore::sqlite().await;
        let directory = directory(&test);
        let refused = async |to: &Path| test.store.backup(to).await.unwrap_err();
        let taken = directory.join("taken");
        fs::write(&taken, "mine").unwrap();
        let link = directory.join("link");
        symlink(directory.join("nowhere"), &link).unwrap();
        for path in [&taken, &link, &test.settings.path] {
            let error = refused(path).await;
            assert!(matches!(error, BackupError::Exists(_)), "{error}");
        }
        assert_eq!(fs::read(&taken).unwrap(), b"mine");
        fs::write(directory.join("new.partial"), "another").unwrap();
        let error = refused(&directory.join("new")).await;
        assert!(matches!(error, BackupError::Unfinished(_)), "{error}");
        assert!(!directory.join("nowhere").exists());
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_is_an_error_and_leaves_nothing() {
        let test = TestStore::sqlite().await;
        let directory = directory(&test);
        let before = files(&test);
        let refused = async |to: &Path| test.store.backup(to).await.unwrap_err().to_string();
        let missing = refused(&directory.join("none/copy")).await;
        assert!(missing.contains("No such file"), "{missing}");
        for path in [directory.as_path(), Path::new("/"), Path::new("")] {
            let error = refused(path).await;
            assert!(error.contains("not the name of a file"), "{error}");
        }
        assert_eq!(files(&test), before);
    }

    #[tokio::test]
    async fn a_damaged_database_gives_no_copy() {
        let test = TestStore::sqlite().await;
        for number in 0..40 {
            test.store.accept(request(number)).await.unwrap();
        }
        test.store.close().await;
        let mut content = fs::read(&test.settings.path).unwrap();
        let root: i64 = test
            .scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'audit'")
            .await;
        let start = usize::try_from(root - 1).unwrap() * 4096;
        content
            .iter_mut()
            .skip(start)
            .take(64)
            .for_each(|byte| *byte = 0x5A);
        fs::write(&test.settings.path, content).unwrap();
        let store = Store::open(&test.settings, Some(testing::chain_key()))
            .await
            .unwrap();
        let error = store.backup(&directory(&test).join("copy")).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        assert!(!files(&test).iter().any(|name| name.starts_with("copy")));
    }
}
