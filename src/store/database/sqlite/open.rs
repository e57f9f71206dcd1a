//! Opens the database, and refuses a file that is not a sound one of this program.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::connection::{Access, SqliteConnection};
use super::files::{directory_of, prepare_directory, prepare_file, refuse_empty};
use super::found_damage;
use super::in_use::InUse;
use super::integrity::{self, Check};
use crate::store::database::connection::Connection;
use crate::store::database::error::{DatabaseError, StoreError};
use crate::store::database::migrations::{migrate, refuse_newer};
use crate::store::database::settings::StoreSettings;

/// The number in the header of the file: "KMSG".
const APPLICATION_ID: i64 = 0x4B4D_5347;

/// Checks the database and opens it for writing. Makes it if it is missing and need not be checked,
/// and brings its schema up to date.
pub(crate) fn writer(settings: &StoreSettings, check: Check) -> Result<Connection, StoreError> {
    let is_checked = check != Check::Nothing;
    if is_checked {
        refuse_empty(&settings.path)?;
    }
    prepare_directory(directory_of(&settings.path))?;
    prepare_file(&settings.path)?;
    if is_checked {
        finish_rollback(settings)?;
        refuse_empty(&settings.path)?;
        examine(settings, check)?;
    }
    let mut connection = connect(settings, Access::Write)?;
    let failed = |error| cannot_be_read(error, settings);
    let is_new = require_own(&mut connection, settings)?;
    write_ahead(&mut connection, settings.busy_timeout).map_err(failed)?;
    if is_new {
        connection.run(&sign()).map_err(failed)?;
    }
    migrate(&mut connection, settings)?;
    Ok(connection)
}

/// Makes the directory of a new database if it is missing, and locks it for this process alone.
pub(crate) fn claim(settings: &StoreSettings) -> Result<InUse, StoreError> {
    prepare_directory(directory_of(&settings.path))?;
    InUse::alone(&settings.path)
}

/// Makes the tables in an empty file that nobody else uses. It has no journal: whoever fills it
/// removes it after a failure, and syncs it at the end.
pub(crate) fn blank(settings: &StoreSettings) -> Result<Connection, StoreError> {
    let failed = |error| integrity::failed(error, &settings.path);
    let mut connection = connect(settings, Access::Write)?;
    connection
        .run("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        .and_then(|()| connection.run(&sign()))
        .map_err(failed)?;
    migrate(&mut connection, settings)?;
    Ok(connection)
}

/// The statement that marks a database as one of this program.
fn sign() -> String {
    format!("PRAGMA application_id = {APPLICATION_ID}")
}

fn connect(settings: &StoreSettings, access: Access) -> Result<Connection, StoreError> {
    SqliteConnection::open(settings, access)
        .map(Connection::Sqlite)
        .map_err(|error| cannot_be_read(error, settings))
}

/// Undoes what a crash left half-made. A crash while the database is made can leave a rollback
/// journal. Later there is none, because the database writes ahead.
fn finish_rollback(settings: &StoreSettings) -> Result<(), StoreError> {
    let mut journal = settings.path.clone().into_os_string();
    journal.push("-journal");
    if !Path::new(&journal).exists() {
        return Ok(());
    }
    let mut connection = connect(settings, Access::Write)?;
    let read: Result<i64, _> = connection.scalar("SELECT count(*) FROM sqlite_schema", &[]);
    read.and_then(|_| connection.close())
        .map_err(|error| cannot_be_read(error, settings))
}

/// Refuses a database that isn't sound, and leaves it as it is: the connection can't write. Any
/// other connection would move the write-ahead log into the database when it is closed.
fn examine(settings: &StoreSettings, check: Check) -> Result<(), StoreError> {
    let path = &settings.path;
    let mut connection = connect(settings, Access::Read)?;
    require_own(&mut connection, settings)?;
    refuse_newer(&mut connection, settings)?;
    let was_damaged = found_damage::is_noted(path);
    match check {
        Check::AllButOld(growing) if !was_damaged => {
            integrity::check_all_but_old(growing, &mut connection, path)?;
        }
        _ => integrity::check(&mut connection, path)?,
    }
    connection
        .close()
        .map_err(|error| cannot_be_read(error, settings))?;
    match was_damaged {
        true => found_damage::forget(path),
        false => Ok(()),
    }
}

/// Refuses a database that another program made. True if it has nothing in it.
fn require_own(connection: &mut Connection, settings: &StoreSettings) -> Result<bool, StoreError> {
    let failed = |error| cannot_be_read(error, settings);
    let is_new = connection
        .scalar("SELECT count(*) = 0 FROM sqlite_schema", &[])
        .map_err(failed)?;
    let application: i64 = connection
        .scalar("PRAGMA application_id", &[])
        .map_err(failed)?;
    match is_new || application == APPLICATION_ID {
        true => Ok(is_new),
        false => Err(not_a_store(&settings.path)),
    }
}

fn cannot_be_read(error: DatabaseError, settings: &StoreSettings) -> StoreError {
    match error.is_no_database() {
        true => not_a_store(&settings.path),
        false => integrity::failed(error, &settings.path),
    }
}

fn not_a_store(path: &Path) -> StoreError {
    StoreError::NotAStore {
        path: path.to_owned(),
    }
}

/// Makes a new database write ahead. SQLite doesn't wait for the lock that this takes, and others
/// who open the new database hold it for a moment.
fn write_ahead(connection: &mut Connection, patience: Duration) -> Result<(), DatabaseError> {
    let end = Instant::now() + patience;
    loop {
        match connection.run("PRAGMA journal_mode = WAL") {
            Err(error) if error.is_busy() && Instant::now() < end => {
                sleep(Duration::from_millis(5));
            }
            switched => return switched,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tokio::task::JoinSet;

    use super::*;
    use crate::store::database::settings::NEWEST_SCHEMA;
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
        let test = TestStore::sqlite().await;
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
        let test = TestStore::sqlite().await;
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
        let test = TestStore::sqlite().await;
        let directory = test.settings.path.parent().unwrap();
        let text = StoreSettings::new(directory.join("text"));
        let text_content = b"not a database\n".repeat(1000);
        fs::write(&text.path, &text_content).unwrap();
        let foreign = StoreSettings::new(directory.join("foreign.db"));
        fs::write(&foreign.path, "").unwrap();
        let connection = SqliteConnection::plain(&foreign.path, Access::Write).unwrap();
        connection.run("CREATE TABLE theirs (a)").unwrap();
        connection.close().unwrap();
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
        let test = TestStore::sqlite().await;
        test.store.close().await;
        let mut content = fs::read(&test.settings.path).unwrap();
        content.iter_mut().skip(100).for_each(|byte| *byte = 0xA5);
        fs::write(&test.settings.path, content).unwrap();
        let error = refusal(&test.settings).await.to_string();
        assert!(error.contains("restore the backup"), "{error}");
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_by_both_versions() {
        let test = TestStore::sqlite().await;
        test.execute("UPDATE schema_version SET version = 999, usable_from = 999")
            .await;
        let error = refusal(&test.settings).await;
        assert!(matches!(
            error,
            StoreError::Schema {
                found: 999,
                known: NEWEST_SCHEMA,
                ..
            }
        ));
        let text = error.to_string();
        let known = format!("version {NEWEST_SCHEMA};");
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
        let test = TestStore::sqlite().await;
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
            .work()
            .unwrap();
        store
            .complete(&leased.token, completion(at(1), &[]))
            .await
            .unwrap();
        store.close().await;
        assert!(!in_file(&test.settings.path));
    }
}
