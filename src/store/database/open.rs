//! Opens the database, and refuses a file that is not a sound one of this program. Has the options
//! of every connection.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep};

use super::error::{SQLITE_BUSY, SQLITE_NOTADB, StoreError, primary_code};
use super::files::{directory_of, prepare_directory, prepare_file, refuse_empty};
use super::integrity;
use super::migrations::{migrate, refuse_newer};
use super::settings::StoreSettings;

/// The number that the schema writes into the header of the file: "KMSG".
const APPLICATION_ID: i32 = 0x4B4D_5347;

/// Connections that read at once.
const READERS: u32 = 4;

/// Bytes that the write-ahead log may keep once its pages are in the database.
const JOURNAL_SIZE_LIMIT: u32 = 8 << 20;

/// The options of the writing connection.
pub(crate) fn writer_options(settings: &StoreSettings) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&settings.path)
        .busy_timeout(settings.busy_timeout)
        .synchronous(match settings.is_synchronous() {
            true => SqliteSynchronous::Full,
            false => SqliteSynchronous::Off,
        })
        .foreign_keys(true)
        .pragma("journal_size_limit", JOURNAL_SIZE_LIMIT.to_string())
        // Deleted mail and replaced keys must be gone.
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

/// Opens the database for writing, makes it if it is missing, and brings its schema up to date.
/// With `checked` it must exist and be sound.
pub(crate) async fn writer(
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

/// Undoes what a crash left half-made. A crash while the database is made can leave a rollback
/// journal. Later there is none, because the database writes ahead.
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

/// Refuses a database that isn't sound, and leaves it as it is: the connection can't write. Any
/// other connection would move the write-ahead log into the database when it is closed.
async fn examine(settings: &StoreSettings) -> Result<(), StoreError> {
    let failed = |error| cannot_be_read(error, settings);
    let options = writer_options(settings).read_only(true);
    let mut connection = options.connect().await.map_err(failed)?;
    require_own(&mut connection, settings).await?;
    refuse_newer(&mut connection, settings).await?;
    integrity::check(&mut connection, &settings.path).await?;
    connection.close().await.map_err(failed)
}

/// Refuses a database that another program made.
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

/// Makes a new database write ahead. SQLite doesn't wait for the lock that this takes, and others
/// who open the new database hold it for a moment.
async fn write_ahead(connection: &mut SqliteConnection, patience: Duration) -> sqlx::Result<()> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tokio::task::JoinSet;

    use super::super::migrations::newest_known;
    use super::*;
    use crate::store::testing::{HOLD, TestStore, at, chain_key, completion, request};
    use crate::store::{Leasing, NewRequest, Store};

    async fn refusal(settings: &StoreSettings) -> StoreError {
        Store::open(settings, None).await.err().unwrap()
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
                let store = Store::open(&settings, Some(chain_key())).await.unwrap();
                store.accept(request(number)).await.unwrap();
                store.close().await;
            });
        }
        opening.join_all().await;
        let store = Store::open(&settings, Some(chain_key())).await.unwrap();
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
