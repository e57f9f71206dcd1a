//! Keeps how the clock ran for the next start. `crate::clock_record` draws the conclusions.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::changes::Changes;
use super::columns::{Moment, length, microseconds, moment};
use super::error::{Failure, StoreError};
use super::store::Store;
use crate::time::{ClockRecord, Look, Stretch};

impl Store {
    /// How the clock ran until the record was last kept. None before the first time.
    pub(crate) async fn clock_record(&self) -> Result<Option<ClockRecord>, StoreError> {
        self.read(|connection| Box::pin(record(connection))).await
    }

    /// Replaces the record of how the clock ran.
    pub(crate) async fn keep_clock_record(&self, record: ClockRecord) -> Result<(), StoreError> {
        self.change(|changes| Box::pin(keep(record, changes))).await
    }
}

async fn keep(record: ClockRecord, changes: &mut Changes<'_>) -> Result<(), Failure> {
    sqlx::query(
        "DELETE FROM clock_stretches;
         INSERT OR REPLACE INTO clock (id, line, now, uptime) VALUES (1, ?, ?, ?)",
    )
    .bind(Moment(record.line))
    .bind(Moment(record.last.now))
    .bind(microseconds(record.last.uptime))
    .execute(&mut *changes.connection)
    .await?;
    for stretch in record.past.iter().chain([&record.present]) {
        sqlx::query(
            "INSERT INTO clock_stretches (begun, ended, behind, of_this_boot) VALUES (?, ?, ?, ?)",
        )
        .bind(Moment(stretch.from))
        .bind(Moment(stretch.until))
        .bind(microseconds(stretch.behind))
        .bind(stretch.of_this_boot)
        .execute(&mut *changes.connection)
        .await?;
    }
    Ok(())
}

async fn record(connection: &mut SqliteConnection) -> sqlx::Result<Option<ClockRecord>> {
    let kept = sqlx::query("SELECT line, now, uptime FROM clock")
        .fetch_optional(&mut *connection)
        .await?;
    let rows = sqlx::query(
        "SELECT begun, ended, behind, of_this_boot FROM clock_stretches ORDER BY sequence",
    )
    .fetch_all(connection)
    .await?;
    let mut past: Vec<Stretch> = rows.iter().map(stretch).collect::<Result<_, _>>()?;
    let (Some(kept), Some(present)) = (kept, past.pop()) else {
        return Ok(None);
    };
    Ok(Some(ClockRecord {
        line: moment(&kept, "line")?,
        last: Look {
            now: moment(&kept, "now")?,
            uptime: length(&kept, "uptime")?,
        },
        present,
        past,
    }))
}

fn stretch(row: &SqliteRow) -> sqlx::Result<Stretch> {
    Ok(Stretch {
        from: moment(row, "begun")?,
        until: moment(row, "ended")?,
        behind: length(row, "behind")?,
        of_this_boot: row.try_get("of_this_boot")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::SignedDuration;

    use super::*;
    use crate::store::testing::{TestStore, at};

    #[tokio::test]
    async fn a_record_comes_back_as_it_was() {
        let test = TestStore::new().await;
        assert_eq!(test.store.clock_record().await.unwrap(), None);
        let look = |second, uptime| Look {
            now: at(second),
            uptime: SignedDuration::from_secs(uptime),
        };
        let mut record = ClockRecord::new(look(0, 10));
        for (second, uptime) in [(5, 15), (100_000, 16), (100_004, 20), (50, 2)] {
            record.look(look(second, uptime));
            test.store.keep_clock_record(record.clone()).await.unwrap();
            let another = test.another().await;
            assert_eq!(another.clock_record().await.unwrap(), Some(record.clone()));
        }
    }
}
