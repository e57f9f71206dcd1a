//! Audit entries that may come in floods: the first is appended, those of the
//! same kind within a minute are counted, and the count is appended.

use jiff::{SignedDuration, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::Moment;
use super::error::Failure;
use super::intent::{Changes, Intent};
use crate::audit::Entry;

/// For how long entries of one kind are counted into one.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// An entry that may be counted rather than appended.
pub(super) struct NoteCounted {
    pub(super) kind: &'static str,
    pub(super) entry: Entry,
}

impl Intent for NoteCounted {
    type Answer = ();

    async fn apply(self, changes: &mut Changes<'_>) -> Result<(), Failure> {
        let Self { kind, entry } = self;
        let row =
            sqlx::query("SELECT kind, since, counted, entry FROM audit_counts WHERE kind = ?")
                .bind(kind)
                .fetch_optional(&mut *changes.connection)
                .await?;
        let now = entry.time;
        let mut count = match row {
            None => Count::begin(kind, now),
            Some(row) => Count::read(&row)?,
        };
        if !count.is_open(now) {
            let goes_on = count.counted > 0;
            count.settle(now, changes).await?;
            count.first = !goes_on;
        }
        if count.first {
            changes.audit(entry.clone()).await?;
        } else {
            count.counted += 1;
        }
        count.entry = entry.canonical_json().map_err(encode)?;
        count.write(changes).await
    }
}

/// Appends the counts of windows that are over, and forgets the kinds that
/// have become quiet.
pub(super) struct SettleCounts {
    pub(super) now: Timestamp,
}

impl Intent for SettleCounts {
    type Answer = ();

    async fn apply(self, changes: &mut Changes<'_>) -> Result<(), Failure> {
        let rows = sqlx::query("SELECT kind, since, counted, entry FROM audit_counts")
            .fetch_all(&mut *changes.connection)
            .await?;
        for row in &rows {
            let mut count = Count::read(row)?;
            if count.is_open(self.now) {
                continue;
            }
            if count.counted > 0 {
                count.settle(self.now, changes).await?;
                count.write(changes).await?;
            } else {
                sqlx::query("DELETE FROM audit_counts WHERE kind = ?")
                    .bind(count.kind)
                    .execute(&mut *changes.connection)
                    .await?;
            }
        }
        Ok(())
    }
}

/// The entries of one kind since its window began.
struct Count {
    kind: String,
    since: Timestamp,
    /// How many were not appended.
    counted: i64,
    /// The last one's canonical text.
    entry: String,
    /// The next one is to be appended.
    first: bool,
}

impl Count {
    fn begin(kind: &str, now: Timestamp) -> Self {
        Self {
            kind: kind.to_owned(),
            since: now,
            counted: 0,
            entry: String::new(),
            first: true,
        }
    }

    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            kind: row.try_get("kind")?,
            since: row.try_get::<Moment, _>("since")?.0,
            counted: row.try_get("counted")?,
            entry: row.try_get("entry")?,
            first: false,
        })
    }

    /// A window that begins in the future began before the clock was set back.
    fn is_open(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.since);
        age < WINDOW && age >= SignedDuration::ZERO
    }

    /// Appends the count, if there is one, and begins a new window.
    async fn settle(&mut self, now: Timestamp, changes: &mut Changes<'_>) -> Result<(), Failure> {
        if self.counted > 0 {
            let last = Entry::from_json(&self.entry).map_err(encode)?;
            let counting = Entry {
                count: u64::try_from(self.counted).ok(),
                detail: Some(format!(
                    "counted since {}; the last one is shown",
                    self.since
                )),
                ..last
            };
            changes.audit(counting).await?;
        }
        self.counted = 0;
        self.since = now;
        Ok(())
    }

    async fn write(&self, changes: &mut Changes<'_>) -> Result<(), Failure> {
        sqlx::query(
            "INSERT OR REPLACE INTO audit_counts (kind, since, counted, entry) VALUES (?, ?, ?, ?)",
        )
        .bind(&self.kind)
        .bind(Moment(self.since))
        .bind(self.counted)
        .bind(&self.entry)
        .execute(&mut *changes.connection)
        .await?;
        Ok(())
    }
}

fn encode(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Encode(error.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Store;
    use super::super::testing::{TestStore, at};
    use super::*;
    use crate::audit::Event;

    async fn note(test: &TestStore, kind: &'static str, second: i64) {
        let mut entry = Entry::new(at(second), Event::Judged);
        entry.rule = Some(kind.to_owned());
        entry.client = Some(format!("192.0.2.{second}"));
        test.store.note_counted(kind, entry).await.unwrap();
    }

    /// Rule and count of each entry.
    async fn log(test: &TestStore) -> Vec<(String, Option<u64>)> {
        let entries = test.store.audit_entries(1, 1_000).await.unwrap();
        entries
            .iter()
            .map(|stored| stored.entry().unwrap())
            .map(|entry| (entry.rule.unwrap(), entry.count))
            .collect()
    }

    fn one(kind: &str) -> (String, Option<u64>) {
        (kind.to_owned(), None)
    }

    fn counted(kind: &str, count: u64) -> (String, Option<u64>) {
        (kind.to_owned(), Some(count))
    }

    #[tokio::test]
    async fn a_flood_is_one_entry_a_minute_that_counts_all() {
        let test = TestStore::new().await;
        for second in 0..=150 {
            note(&test, "dnsbl", second).await;
        }
        note(&test, "size", 150).await;
        let expected = [
            one("dnsbl"),
            counted("dnsbl", 59),
            counted("dnsbl", 60),
            one("size"),
        ];
        assert_eq!(log(&test).await, expected);
        test.store.settle_counts(at(160)).await.unwrap();
        assert_eq!(log(&test).await, expected, "the window is open");
        test.store.settle_counts(at(180)).await.unwrap();
        let last = log(&test).await.pop().unwrap();
        assert_eq!(last, counted("dnsbl", 31));
        assert!(test.store.verify_audit(None).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_comes_now_and_then_is_not_counted() {
        let test = TestStore::new().await;
        for second in [0, 60, 180] {
            note(&test, "dnsbl", second).await;
        }
        assert_eq!(log(&test).await, [one("dnsbl"), one("dnsbl"), one("dnsbl")]);
        test.store.settle_counts(at(300)).await.unwrap();
        assert_eq!(test.execute("DELETE FROM audit_counts").await, 0);
    }

    #[tokio::test]
    async fn a_count_survives_a_crash_and_a_clock_set_back() {
        let test = TestStore::new().await;
        for second in [100, 101, 102] {
            note(&test, "dnsbl", second).await;
        }
        let test = test.after_crash().await;
        note(&test, "dnsbl", 5).await;
        assert_eq!(log(&test).await, [one("dnsbl"), counted("dnsbl", 2)]);
    }

    #[tokio::test]
    async fn a_flood_of_rejects_does_not_make_the_database_grow() {
        let test = TestStore::new().await;
        let pages = async || -> i64 {
            sqlx::query_scalar("PRAGMA page_count")
                .fetch_one(&mut test.sqlite3().await)
                .await
                .unwrap()
        };
        note(&test, "dnsbl", 0).await;
        let before = pages().await;
        for _ in 0..5_000 {
            note(&test, "dnsbl", 1).await;
        }
        assert_eq!(pages().await, before);
        test.store.settle_counts(at(61)).await.unwrap();
        assert_eq!(log(&test).await, [one("dnsbl"), counted("dnsbl", 5_000)]);
        note(&test, "size", 62).await;
        assert_eq!(log(&test).await.len(), 3, "others are noted as ever");
    }
}
