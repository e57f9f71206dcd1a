//! Checks that a database is sound. SQLite checks the structure. The audit chain and
//! the sealed rows show tampering with the content.

use std::io;
use std::path::Path;

use super::files::cannot;
use super::write_ahead_log;
use crate::store::database::connection::Connection;
use crate::store::database::error::{DatabaseError, StoreError};
use crate::store::database::values::Bind;

/// Offset of the byte that SQLite locks. It never writes the page around it
/// (sqlite.org/fileformat2.html, section 1.3).
const LOCK_BYTE: u64 = 1 << 30;

/// Newest rows that are read of a table that grows without limit. The write-ahead log, which SQLite
/// moves into the database at 1,000 pages, seldom has more.
pub(crate) const NEWEST_ROWS: u32 = 5_000;

/// What of a database is checked before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing. A missing database is made.
    Nothing,
    /// Everything that a crash can have damaged. Of these tables, which grow without limit, only
    /// the newest rows are read. The database must exist.
    AllButOld(&'static [&'static str]),
    /// Everything. The database must exist.
    Whole,
}

/// Reads the whole file. SQLite's quick_check would not compare the indexes with their tables, and
/// costs hardly less. By indexes requests are leased, copies recognised and replays refused.
pub(crate) fn check(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    refuse_lost_page(connection, path)?;
    let found = first_fault(connection);
    refuse(found.map_err(|error| failed(error, path))?, path)
}

/// Checks everything that a crash can have damaged.
///
/// A crash of the process damages nothing, because the kernel has all that it wrote. After a power
/// cut the disk may lack two kinds of pages: those of a commit that was not synced, and those that
/// were being moved from the write-ahead log into the database. The checksums of the log end it
/// before the first. It still has the second, because SQLite syncs the database before it begins
/// the log anew. Only a disk that reports too early loses more: the latest writes to both files.
///
/// SQLite can't say which table a page belongs to without reading all of them. So each table is
/// checked as a whole, with its indexes. They have bounds: the spool's, the allowances', and the
/// time for which a copy is recognised. Only the tables of `growing` have none. Requests add rows at
/// their end, and so their newest rows are read. SQLite checks the list of free pages together with
/// the table of the schema. Older rows, and pages that no table has or that two have, are left to
/// [`check`].
pub(super) fn check_all_but_old(
    growing: &[&str],
    connection: &mut Connection,
    path: &Path,
) -> Result<(), StoreError> {
    refuse_lost_page(connection, path)?;
    let found = first_new_fault(growing, connection);
    refuse(found.map_err(|error| failed(error, path))?, path)
}

/// The error of a database that can't be read.
pub(crate) fn failed(cause: DatabaseError, path: &Path) -> StoreError {
    match cause.is_damage() {
        true => damaged(path, &cause.to_string()),
        false => StoreError::Database {
            place: path.display().to_string(),
            cause,
        },
    }
}

fn refuse(found: Option<String>, path: &Path) -> Result<(), StoreError> {
    match found {
        None => Ok(()),
        Some(found) => Err(damaged(path, &found)),
    }
}

fn refuse_lost_page(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let lost = first_lost_page(connection, path)?.map(|page| {
        format!(
            "it ends within or before page {page}, which its write-ahead log doesn't have either"
        )
    });
    refuse(lost, path)
}

fn first_fault(connection: &mut Connection) -> Result<Option<String>, DatabaseError> {
    let found: String = connection.scalar("PRAGMA integrity_check(1)", &[])?;
    match found.as_str() {
        "ok" => orphan(connection, "PRAGMA foreign_key_check", &[]),
        _ => Ok(Some(found)),
    }
}

fn first_new_fault(
    growing: &[&str],
    connection: &mut Connection,
) -> Result<Option<String>, DatabaseError> {
    let tables = connection.all(
        "SELECT 'sqlite_schema' AS name
         UNION ALL SELECT name FROM sqlite_schema WHERE type = 'table'",
        &[],
    )?;
    for table in tables {
        let name: String = table.get("name")?;
        if growing.contains(&name.as_str()) {
            read_newest(&name, connection)?;
        } else if let Some(fault) = fault_of_table(&name, connection)? {
            return Ok(Some(fault));
        }
    }
    Ok(None)
}

/// Reads the newest rows. Fails if they can't be read.
fn read_newest(table: &str, connection: &mut Connection) -> Result<(), DatabaseError> {
    let newest = format!("SELECT * FROM {table} ORDER BY rowid DESC LIMIT {NEWEST_ROWS}");
    connection.each(&newest, &[], |_| Ok(()))
}

fn fault_of_table(
    name: &str,
    connection: &mut Connection,
) -> Result<Option<String>, DatabaseError> {
    let found: String = connection.scalar(
        "SELECT integrity_check FROM pragma_integrity_check($1)",
        &[&name],
    )?;
    match found.as_str() {
        "ok" => orphan(
            connection,
            "SELECT \"table\", parent FROM pragma_foreign_key_check($1)",
            &[&name],
        ),
        _ => Ok(Some(found)),
    }
}

/// A row that refers to none, if such a check finds one.
fn orphan(
    connection: &mut Connection,
    check: &str,
    values: &[&dyn Bind],
) -> Result<Option<String>, DatabaseError> {
    let orphan = connection.optional(check, values)?;
    orphan
        .map(|row| {
            let (table, parent): (String, String) = (row.get("table")?, row.get("parent")?);
            Ok(format!("a row of {table} names none of {parent}"))
        })
        .transpose()
}

/// The first page that the file lacks, in whole or in part, and that the write-ahead log lacks too.
/// SQLite would read zeros there. After a power cut during a checkpoint the file may end early, but
/// the log has all its pages.
fn first_lost_page(connection: &mut Connection, path: &Path) -> Result<Option<u64>, StoreError> {
    let failed = |error| failed(error, path);
    // A transaction, so that the pages stay in the log until it ends.
    connection.run("BEGIN").map_err(failed)?;
    let pages = connection
        .scalar("PRAGMA page_count", &[])
        .map_err(failed)?;
    let page_size = connection.scalar("PRAGMA page_size", &[]).map_err(failed)?;
    let lost = lost_page(path, pages, page_size);
    connection.run("ROLLBACK").map_err(failed)?;
    lost.map_err(cannot("read the pages of", path))
}

fn lost_page(path: &Path, pages: u64, page_size: u64) -> io::Result<Option<u64>> {
    let first_lacking = path.metadata()?.len() / page_size + 1;
    if first_lacking > pages {
        return Ok(None);
    }
    let logged = write_ahead_log::pages_beside(path)?;
    let never_written = LOCK_BYTE / page_size + 1;
    Ok((first_lacking..=pages).find(|page| *page != never_written && !logged.contains(page)))
}

fn damaged(path: &Path, found: &str) -> StoreError {
    // SQLite writes the name of the database on a line of its own.
    let words = found
        .strip_prefix("*** in database main ***")
        .unwrap_or(found)
        .split_whitespace();
    StoreError::Damaged {
        path: path.to_owned(),
        found: words.collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::new_file;
    use crate::store::testing::{TestStore, chain_key, request};
    use crate::store::{NewRequest, Store, StoreSettings};

    const PAGE: usize = 4096;

    /// A closed store with some hundred pages of each kind.
    async fn filled() -> TestStore {
        let test = TestStore::sqlite().await;
        for number in 0..60 {
            let request = NewRequest {
                message: vec![number; 9000],
                ..request(number)
            };
            test.store.accept(request).await.unwrap();
        }
        test.store.close().await;
        test
    }

    async fn opened(test: &TestStore) -> Result<(), StoreError> {
        let store = Store::open_checked(&test.settings, None).await?;
        store.close().await;
        Ok(())
    }

    /// The refusal, which must be one line with path and remedy.
    async fn refusal(test: &TestStore) -> String {
        let text = opened(test).await.unwrap_err().to_string();
        let path = test.settings.path.display().to_string();
        assert!(
            text.starts_with(&path) && text.contains("restore the backup") && !text.contains('\n'),
            "{text}"
        );
        text
    }

    async fn root_of(test: &TestStore, name: &str) -> usize {
        let page: i64 = test
            .sqlite3()
            .scalar(
                "SELECT rootpage FROM sqlite_schema WHERE name = $1",
                &[&name],
            )
            .unwrap();
        usize::try_from(page).unwrap()
    }

    #[tokio::test]
    async fn a_sound_database_is_opened() {
        opened(&filled().await).await.unwrap();
    }

    #[tokio::test]
    async fn bytes_overwritten_in_a_page_of_any_table_or_index_are_found() {
        let test = filled().await;
        let sound = fs::read(&test.settings.path).unwrap();
        let mut refused = 0;
        for name in [
            "requests",
            "requests_of_sender",
            "identities",
            "audit",
            "modules",
        ] {
            let start = (root_of(&test, name).await - 1) * PAGE;
            let mut content = sound.clone();
            content[start..start + 64].fill(0x5A);
            fs::write(&test.settings.path, content).unwrap();
            refusal(&test).await;
            refused += 1;
            fs::write(&test.settings.path, &sound).unwrap();
        }
        opened(&test).await.unwrap();
        println!("{refused} damaged files refused");
    }

    #[tokio::test]
    async fn a_file_cut_off_is_found() {
        let test = filled().await;
        let sound = fs::read(&test.settings.path).unwrap();
        for kept in [PAGE, sound.len() / 2, sound.len() - PAGE, sound.len() - 1] {
            fs::write(&test.settings.path, &sound[..kept]).unwrap();
            refusal(&test).await;
        }
    }

    #[tokio::test]
    async fn an_index_that_has_not_what_its_table_has_is_found() {
        let test = filled().await;
        let content = fs::read(&test.settings.path).unwrap();
        let (found, changed) = (b"sender7@vendor.example", b"sender8@vendor.example");
        let start = (root_of(&test, "requests_of_sender").await - 1) * PAGE;
        let place = content[start..]
            .windows(found.len())
            .position(|window| window == found);
        let mut content = content;
        let place = start + place.unwrap();
        content[place..place + found.len()].copy_from_slice(changed);
        fs::write(&test.settings.path, content).unwrap();
        let text = refusal(&test).await;
        assert!(text.contains("index requests_of_sender"), "{text}");
    }

    #[tokio::test]
    async fn a_row_without_its_parent_is_found() {
        let test = filled().await;
        test.sqlite3()
            .run("PRAGMA foreign_keys = OFF; INSERT INTO request_messages VALUES (999, x'00')")
            .unwrap();
        let text = refusal(&test).await;
        assert!(
            text.contains("a row of request_messages names none of requests"),
            "{text}"
        );
    }

    /// The files of a store that lost its power with its last requests in the
    /// write-ahead log alone.
    struct Cut {
        directory: TempDir,
        requests: u64,
        database: Vec<u8>,
        log: Vec<u8>,
    }

    impl Cut {
        async fn new() -> Self {
            let test = TestStore::sqlite().await;
            test.store.close().await;
            let requests = 20;
            let store = test.another().await;
            for number in 0..requests {
                let request = NewRequest {
                    message: vec![number; 9000],
                    ..request(number)
                };
                store.accept(request).await.unwrap();
            }
            Self {
                directory: tempfile::tempdir().unwrap(),
                requests: requests.into(),
                database: fs::read(&test.settings.path).unwrap(),
                log: fs::read(beside(&test.settings.path, "-wal")).unwrap(),
            }
        }

        /// A store with this database file and the log.
        fn with(&self, database: &[u8]) -> StoreSettings {
            let _ = fs::remove_dir_all(self.directory.path().join("store"));
            let settings = StoreSettings::new(self.directory.path().join("store/gateway.db"));
            new_file::create_directory(settings.path.parent().unwrap(), 0o700).unwrap();
            new_file::create(&settings.path, 0o600, database).unwrap();
            new_file::create(&beside(&settings.path, "-wal"), 0o600, &self.log).unwrap();
            settings
        }
    }

    fn beside(path: &Path, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", path.display()))
    }

    /// A checkpoint was moving the log into the database.
    #[tokio::test]
    async fn a_file_that_ends_within_a_page_of_the_log_is_recovered() {
        let cut = Cut::new().await;
        for written in [1, 512, 4095, PAGE + 1, 5 * PAGE + 100] {
            let torn = [&cut.database[..], &vec![0x5A; written]].concat();
            let store = Store::open_checked(&cut.with(&torn), Some(chain_key()))
                .await
                .unwrap();
            let held = store.spool_usage().await.unwrap().requests;
            assert_eq!(held, cut.requests, "{written}");
            assert!(store.verify_audit(None).await.unwrap().is_ok(), "{written}");
            store.close().await;
        }
    }

    #[tokio::test]
    async fn a_page_that_neither_file_nor_log_has_is_found_and_nothing_is_changed() {
        let cut = Cut::new().await;
        let logged = write_ahead_log::pages_beside(&cut.with(&[]).path).unwrap();
        let is_logged = |page: &usize| logged.contains(&(*page as u64));
        let page = (1..=cut.database.len() / PAGE).rfind(|page| !is_logged(page));
        let page = page.unwrap();
        for kept in [(page - 1) * PAGE, (page - 1) * PAGE + 10] {
            let database = &cut.database[..kept];
            let settings = cut.with(database);
            let refused = Store::open_checked(&settings, Some(chain_key())).await;
            let text = refused.err().unwrap().to_string();
            // SQLite itself may miss the page first, where the schema lies on it.
            assert!(text.contains("the database is damaged"), "{text}");
            let pages = (cut.database.len() / PAGE) as u64;
            let lost = lost_page(&settings.path, pages, PAGE as u64).unwrap();
            assert_eq!(lost, Some(page as u64));
            assert!(fs::read(&settings.path).unwrap() == database, "the file");
            let log = fs::read(beside(&settings.path, "-wal")).unwrap();
            assert!(log == cut.log, "the log");
        }
    }
}
