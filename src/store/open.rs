//! Finding, checking and making the database file, and the options of every
//! connection to it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Access, access};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlSafeStr};
use tokio::time::{Instant, sleep};

use super::error::{Failure, SQLITE_BUSY, SQLITE_NOTADB, StoreError, primary_code};
use super::integrity;
use super::owner::give_to_owner;
use super::settings::{StoreSettings, Synchronous};
use crate::new_file;

/// The steps of the schema, oldest first: version, description, statements.
/// `sqlx::migrate!` would find the files itself, but at the price of a second
/// sqlx and SQLite, compiled for the compiler's own use.
const MIGRATIONS: &[(i64, &str, &str)] = &[(1, "store", include_str!("migrations/0001_store.sql"))];

/// What the first migration writes into the file's header: "KMSG".
const APPLICATION_ID: i32 = 0x4B4D_5347;

/// How many may read at once.
const READERS: u32 = 4;

/// How long the write-ahead log may stay once its pages are in the database.
const JOURNAL_SIZE_LIMIT: u32 = 8 << 20;

/// The options of the writing connection.
pub(super) fn writer_options(settings: &StoreSettings) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&settings.path)
        .busy_timeout(settings.busy_timeout)
        .synchronous(match settings.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            #[cfg(feature = "test-faults")]
            Synchronous::Off => SqliteSynchronous::Off,
        })
        .foreign_keys(true)
        .pragma("journal_size_limit", JOURNAL_SIZE_LIMIT.to_string())
        // What was deleted is gone: a requester's mail, a key replaced.
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .disable_statement_logging()
}

/// Connections that can't write, opened when they are first needed.
pub(super) fn readers(settings: &StoreSettings) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .connect_lazy_with(writer_options(settings).read_only(true))
}

/// Opens the database for writing, makes it if it isn't there, and brings its
/// schema up to date. With `checked` it must be there, and sound.
pub(super) async fn writer(
    settings: &StoreSettings,
    checked: bool,
) -> Result<SqliteConnection, StoreError> {
    if checked {
        refuse_empty(&settings.path)?;
    }
    prepare_directory(directory_of(&settings.path))?;
    prepare_file(&settings.path)?;
    if checked {
        finish_rollback(settings).await?;
        refuse_empty(&settings.path)?;
        examine(settings).await?;
    }
    let failed = |error| cannot_be_read(error, settings);
    let mut connection = writer_options(settings).connect().await.map_err(failed)?;
    require_own(&mut connection, settings).await?;
    let switched = write_ahead(&mut connection, settings.busy_timeout).await;
    switched.map_err(failed)?;
    migrate(&mut connection, settings).await?;
    Ok(connection)
}

/// A crash while the database was made can leave a rollback journal, and what
/// the journal undoes counts for nothing. Later on there is none, for then the
/// database writes ahead.
async fn finish_rollback(settings: &StoreSettings) -> Result<(), StoreError> {
    let mut journal = settings.path.clone().into_os_string();
    journal.push("-journal");
    if !Path::new(&journal).exists() {
        return Ok(());
    }
    let failed = |error| cannot_be_read(error, settings);
    let mut connection = writer_options(settings).connect().await.map_err(failed)?;
    sqlx::query("SELECT count(*) FROM sqlite_schema")
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// Refuses a database that isn't sound. The connection can't write: what is
/// refused stays as it is, and so does its write-ahead log, which any other
/// connection moves into the database when it is closed.
async fn examine(settings: &StoreSettings) -> Result<(), StoreError> {
    let failed = |error| cannot_be_read(error, settings);
    let options = writer_options(settings).read_only(true);
    let mut connection = options.connect().await.map_err(failed)?;
    require_own(&mut connection, settings).await?;
    refuse_newer(&mut connection, settings).await?;
    integrity::check(&mut connection, &settings.path).await?;
    connection.close().await.map_err(failed)
}

/// A database that another program made is left as it is.
async fn require_own(
    connection: &mut SqliteConnection,
    settings: &StoreSettings,
) -> Result<(), StoreError> {
    let failed = |error| cannot_be_read(error, settings);
    let is_new: bool = sqlx::query_scalar("SELECT count(*) = 0 FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let application: i32 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    match is_new || application == APPLICATION_ID {
        true => Ok(()),
        false => Err(not_a_store(&settings.path)),
    }
}

fn cannot_be_read(error: sqlx::Error, settings: &StoreSettings) -> StoreError {
    match primary_code(&error) {
        Some(SQLITE_NOTADB) => not_a_store(&settings.path),
        _ => integrity::failed(error, &settings.path),
    }
}

fn not_a_store(path: &Path) -> StoreError {
    StoreError::NotAStore {
        path: path.to_owned(),
    }
}

/// Has a new database write ahead. SQLite doesn't wait for the lock that this
/// takes, which others who open the new database hold for a moment.
async fn write_ahead(
    connection: &mut SqliteConnection,
    patience: Duration,
) -> Result<(), sqlx::Error> {
    let end = Instant::now() + patience;
    loop {
        let switched = sqlx::query("PRAGMA journal_mode = WAL")
            .execute(&mut *connection)
            .await;
        match switched {
            Err(error) if primary_code(&error) == Some(SQLITE_BUSY) && Instant::now() < end => {
                sleep(Duration::from_millis(5)).await;
            }
            switched => return switched.map(drop),
        }
    }
}

/// Takes the schema through all steps.
fn migrator() -> Migrator {
    let migration = |&(version, description, statements): &(i64, &'static str, &'static str)| {
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            statements.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
}

/// Brings the schema up to date in one transaction, so that it doesn't matter
/// who else opens the database meanwhile.
async fn migrate(
    connection: &mut SqliteConnection,
    settings: &StoreSettings,
) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| Failure::from(error).of(settings);
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed)?;
    refuse_newer(&mut transaction, settings).await?;
    // By `run` the future could not move between threads.
    migrator()
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                failed(error)
            }
            other => failed(sqlx::Error::Migrate(Box::new(other))),
        })?;
    transaction.commit().await.map_err(failed)
}

/// The newest version of the schema that this program knows.
fn newest_known() -> i64 {
    let versions = MIGRATIONS.iter().map(|(version, ..)| *version);
    versions.max().unwrap_or(0)
}

/// A schema that a newer version of this program made is not touched.
async fn refuse_newer(
    connection: &mut SqliteConnection,
    settings: &StoreSettings,
) -> Result<(), StoreError> {
    let known = newest_known();
    let found = schema_version(connection)
        .await
        .map_err(|error| integrity::failed(error, &settings.path))?;
    if found <= known {
        return Ok(());
    }
    Err(StoreError::Schema {
        path: settings.path.clone(),
        found,
        known,
    })
}

/// The newest migration applied, 0 in a new file.
async fn schema_version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let made: bool = sqlx::query_scalar(
        "SELECT count(*) > 0 FROM sqlite_schema WHERE name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !made {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
}

pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// To SQLite a file of no length is a new database.
fn refuse_empty(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(file) if file.len() > 0 => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(cannot("look at the database", path)(error))
        }
        _ => Err(StoreError::Empty {
            path: path.to_owned(),
        }),
    }
}

fn prepare_directory(directory: &Path) -> Result<(), StoreError> {
    new_file::create_directory(directory, 0o700)
        .map_err(cannot("create the directory", directory))?;
    // SQLite would only say that it can't open the file.
    access(directory, Access::WRITE_OK)
        .map_err(|error| cannot("write to the directory", directory)(error.into()))?;
    keeps_others_out(directory, 0o700)
}

/// Makes the file with the right mode before SQLite would with another. A file
/// that is there is not opened: closing it would drop the locks that SQLite
/// holds on it in this process.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => {
            give_to_owner(path, path).map_err(cannot("give away", path))?;
            sync_directory(directory_of(path))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.is_file() => {
            Err(not_a_store(path))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => keeps_others_out(path, 0o600),
        Err(error) => Err(cannot("create the database", path)(error)),
    }
}

/// The file's name must be on the disk too.
fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    new_file::sync(directory).map_err(cannot("sync the directory", directory))
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

pub(super) fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = PathBuf::from(path);
    move |error| StoreError::Io {
        path,
        action,
        cause: Arc::new(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::os::unix::fs::PermissionsExt;

    use tokio::task::JoinSet;

    use super::super::testing::{HOLD, TestStore, at, chain_key, completion, request};
    use super::super::{Leasing, NewRequest, SqliteStore, Store};
    use super::*;

    async fn refusal(settings: &StoreSettings) -> StoreError {
        SqliteStore::open(settings, None).await.err().unwrap()
    }

    fn mode(path: impl AsRef<Path>) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn only_the_owner_may_look_in() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let path = &test.settings.path;
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        for suffix in ["", "-wal", "-shm"] {
            assert_eq!(
                mode(format!("{}{suffix}", path.display())),
                0o600,
                "{suffix}"
            );
        }
    }

    #[tokio::test]
    async fn what_others_may_look_into_is_refused() {
        let test = TestStore::new().await;
        test.store.close().await;
        let path = &test.settings.path;
        set_mode(path, 0o640);
        let error = refusal(&test.settings).await;
        assert!(matches!(error, StoreError::Permissions { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 0600"), "{error}");

        set_mode(path, 0o600);
        set_mode(path.parent().unwrap(), 0o755);
        let error = refusal(&test.settings).await.to_string();
        assert!(
            error.contains("0755") && error.contains("chmod 0700"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn other_files_are_refused_and_left_as_they_are() {
        let test = TestStore::new().await;
        let directory = test.settings.path.parent().unwrap();
        let text = StoreSettings::new(directory.join("text"));
        let text_content = b"not a database\n".repeat(1000);
        fs::write(&text.path, &text_content).unwrap();
        let foreign = StoreSettings::new(directory.join("foreign.db"));
        let options = SqliteConnectOptions::new()
            .filename(&foreign.path)
            .create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::query("CREATE TABLE theirs (a)")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let foreign_content = fs::read(&foreign.path).unwrap();

        for (settings, content) in [(text, text_content), (foreign, foreign_content)] {
            set_mode(&settings.path, 0o600);
            let error = refusal(&settings).await;
            assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
            assert_eq!(fs::read(&settings.path).unwrap(), content);
        }
        let no_file = StoreSettings::new(directory.join("directory"));
        fs::create_dir(&no_file.path).unwrap();
        assert!(matches!(
            refusal(&no_file).await,
            StoreError::NotAStore { .. }
        ));
    }

    #[tokio::test]
    async fn a_damaged_database_is_an_error_that_names_the_remedy() {
        let test = TestStore::new().await;
        test.store.close().await;
        let mut content = fs::read(&test.settings.path).unwrap();
        content.iter_mut().skip(100).for_each(|byte| *byte = 0xA5);
        fs::write(&test.settings.path, content).unwrap();
        let error = refusal(&test.settings).await.to_string();
        assert!(error.contains("restore the backup"), "{error}");
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_by_both_versions() {
        let test = TestStore::new().await;
        test.execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (999, 'of tomorrow', TRUE, x'00', 0)",
        )
        .await;
        let error = refusal(&test.settings).await;
        let newest = newest_known();
        assert!(matches!(
            error,
            StoreError::Schema { found: 999, known, .. } if known == newest
        ));
        let text = error.to_string();
        let known = format!("version {newest};");
        assert!(text.contains("999") && text.contains(&known), "{text}");
    }

    #[tokio::test]
    async fn many_may_open_a_new_database_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let settings = StoreSettings::new(directory.path().join("store/gateway.db"));
        let mut opening = JoinSet::new();
        for number in 0..8 {
            let settings = settings.clone();
            opening.spawn(async move {
                let store = SqliteStore::open(&settings, Some(chain_key()))
                    .await
                    .unwrap();
                store.accept(request(number)).await.unwrap();
                store.close().await;
            });
        }
        opening.join_all().await;
        let store = SqliteStore::open(&settings, Some(chain_key()))
            .await
            .unwrap();
        assert_eq!(store.spool_usage().await.unwrap().requests, 8);
        assert_eq!(store.verify_audit(None).await.unwrap().unwrap().sequence, 8);
    }

    #[tokio::test]
    async fn deleted_mail_is_not_in_the_file() {
        let test = TestStore::new().await;
        let words = b"for your eyes only ";
        let mail = words.repeat(500);
        let in_file = |path: &Path| {
            let content = fs::read(path).unwrap();
            content.windows(words.len()).any(|window| window == words)
        };
        test.store
            .accept(NewRequest {
                message: mail,
                ..request(1)
            })
            .await
            .unwrap();
        test.store.close().await;
        assert!(in_file(&test.settings.path));

        let store = test.another().await;
        let leased = store
            .lease(Leasing::alone(at(1), HOLD))
            .await
            .unwrap()
            .unwrap();
        store
            .complete(&leased.token, completion(at(1), &[]))
            .await
            .unwrap();
        store.close().await;
        assert!(!in_file(&test.settings.path));
    }
}
