//! Whether a database file is sound. What its pages, rows and indexes must be
//! SQLite knows; that nobody changed what is in them the audit log's chain and
//! the seals of the keys show.

use std::path::Path;
use std::sync::Arc;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::error::{SQLITE_CORRUPT, StoreError, primary_code};

/// Reads the whole file. Not SQLite's quick_check: that leaves out whether the
/// indexes have what the tables have, by which requests are leased, messages
/// known again and replays refused, and hardly costs less.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    match first_fault(connection, path).await {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(damaged(path, &found)),
        Err(error) => Err(failed(error, path)),
    }
}

/// The error of a database that can't be read: damaged or in other trouble.
pub(super) fn failed(error: sqlx::Error, path: &Path) -> StoreError {
    match primary_code(&error) {
        Some(SQLITE_CORRUPT) => damaged(path, &error.to_string()),
        _ => StoreError::Sqlite {
            path: path.to_owned(),
            cause: Arc::new(error),
        },
    }
}

/// What is found first, if anything is.
async fn first_fault(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Option<String>, sqlx::Error> {
    let page: i64 = sqlx::query_scalar("PRAGMA page_size")
        .fetch_one(&mut *connection)
        .await?;
    // What is missing of its last page SQLite reads as zeros.
    let is_whole = |length: u64| u64::try_from(page).is_ok_and(|page| length.is_multiple_of(page));
    if path.metadata().is_ok_and(|file| !is_whole(file.len())) {
        return Ok(Some("it ends within a page".to_owned()));
    }
    let found: Option<String> = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(found) = found.filter(|found| found != "ok") {
        return Ok(Some(found));
    }
    let orphan = sqlx::query("PRAGMA foreign_key_check")
        .fetch_optional(connection)
        .await?;
    orphan
        .map(|row| {
            let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            Ok(format!("a row of {table} names none of {parent}"))
        })
        .transpose()
}

fn damaged(path: &Path, found: &str) -> StoreError {
    // SQLite puts the database's name on a line of its own.
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

    use super::super::testing::{TestStore, request};
    use super::super::{NewRequest, SqliteStore, Store};
    use super::*;

    const PAGE: usize = 4096;

    /// A closed store with some hundred pages of each kind.
    async fn filled() -> TestStore {
        let test = TestStore::new().await;
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
        let store = SqliteStore::open_checked(&test.settings, None).await?;
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
        let mut connection = test.sqlite3().await;
        let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = ?")
            .bind(name)
            .fetch_one(&mut connection)
            .await
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
        let mut connection = test.sqlite3().await;
        sqlx::raw_sql(
            "PRAGMA foreign_keys = OFF; INSERT INTO request_messages VALUES (999, x'00')",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        let text = refusal(&test).await;
        assert!(
            text.contains("a row of request_messages names none of requests"),
            "{text}"
        );
    }
}
