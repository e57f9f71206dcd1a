//! Copies the database while it is in use.

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::audit::log;
use super::copy::{CopyError, copy_into_file};
use super::database::sqlite::{Access, SqliteConnection, integrity};
use super::database::{Connection, DatabaseError, Store, StoreError, StoreSettings};
use super::partial_file::{PartialFile, PartialFileError};
use crate::audit::Head;

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
    /// The file can't be made.
    #[error(transparent)]
    File(#[from] PartialFileError),
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
    /// The rows of a PostgreSQL database could not be copied.
    #[error(transparent)]
    Rows(#[from] CopyError),
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
        let file = PartialFile::create(to)?;
        let from = self.settings().clone();
        let made = spawn_blocking(move || copy(&from, file));
        made.await.unwrap_or(Err(StoreError::Closed.into()))
    }
}

fn copy(from: &StoreSettings, file: PartialFile) -> Result<Backup, BackupError> {
    match from.postgresql {
        None => vacuum_into(from, &file)?,
        Some(_) => copy_into_file(from, file.path())?,
    }
    let head = checked(file.path())?;
    let bytes = file.finish()?;
    Ok(Backup { bytes, head })
}

fn vacuum_into(from: &StoreSettings, file: &PartialFile) -> Result<(), BackupError> {
    let failed = |cause| BackupError::Copy {
        from: from.path.clone(),
        to: file.path().to_owned(),
        cause,
    };
    let name = file.path().to_str();
    let name = name.ok_or_else(|| PartialFileError::Name(file.to().to_owned()))?;
    // The copying changes nothing here.
    let mut connection = SqliteConnection::open(from, Access::Read).map_err(failed)?;
    connection
        .execute("VACUUM INTO $1", &[&name])
        .map_err(failed)?;
    connection.close().map_err(failed)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::store::testing::{TestStore, chain_key, request};
    use crate::store::{StoreSettings, testing};

    fn directory(test: &TestStore) -> PathBuf {
        test.settings.path.parent().unwrap().to_owned()
    }

    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_copy_made_in_use_is_a_store_of_one_moment() {
        for test in [TestStore::sqlite().await, TestStore::postgresql().await] {
            let directory = tempfile::tempdir().unwrap();
            let own = fs::Permissions::from_mode(0o700);
            fs::set_permissions(directory.path(), own).unwrap();
            let to = directory.path().join("copy");
            for number in 0..20 {
                test.store.accept(request(number)).await.unwrap();
            }
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
            assert_eq!(files(directory.path()), ["copy"]);

            let settings = StoreSettings::new(&to);
            let copy = Store::open_checked(&settings, Some(chain_key())).await;
            let copy = copy.unwrap();
            assert_eq!(copy.verify_audit(None).await.unwrap(), Ok(backup.head));
            let held = copy.spool_usage().await.unwrap().requests;
            assert_eq!(i64::try_from(held).unwrap(), backup.head.sequence);
            assert!(held >= 20);
            copy.accept(request(200)).await.unwrap();
            assert_eq!(test.store.spool_usage().await.unwrap().requests, 120);
        }
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
            assert!(
                matches!(error, BackupError::File(PartialFileError::Exists(_))),
                "{error}"
            );
        }
        assert_eq!(fs::read(&taken).unwrap(), b"mine");
        fs::write(directory.join("new.partial"), "another").unwrap();
        let error = refused(&directory.join("new")).await;
        assert!(
            matches!(error, BackupError::File(PartialFileError::Unfinished(_))),
            "{error}"
        );
        assert!(!directory.join("nowhere").exists());
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_is_an_error_and_leaves_nothing() {
        let test = TestStore::sqlite().await;
        let directory = directory(&test);
        let before = files(&directory);
        let refused = async |to: &Path| test.store.backup(to).await.unwrap_err().to_string();
        let missing = refused(&directory.join("none/copy")).await;
        assert!(missing.contains("No such file"), "{missing}");
        for path in [directory.as_path(), Path::new("/"), Path::new("")] {
            let error = refused(path).await;
            assert!(error.contains("not the name of a file"), "{error}");
        }
        assert_eq!(files(&directory), before);
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
        assert!(
            !files(&directory(&test))
                .iter()
                .any(|name| name.starts_with("copy"))
        );
    }
}
