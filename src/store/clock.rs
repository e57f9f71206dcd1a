//! How the clock ran, kept so that the next start knows. What follows from it is
//! `crate::clock_record`'s.

use jiff::SignedDuration;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::columns::Moment;
use super::error::Failure;
use super::intent::{Changes, Intent};
use crate::time::{ClockRecord, Look, Stretch};

/// Puts the record in the place of the one before.
pub(super) struct KeepClockRecord(pub(super) ClockRecord);

impl Intent for KeepClockRecord {
    type Answer = ();

    async fn apply(self, changes: &mut Changes<'_>) -> Result<(), Failure> {
        let record = self.0;
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
                "INSERT INTO clock_stretches (begun, ended, behind, of_this_boot)
                 VALUES (?, ?, ?, ?)",
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
}

/// None before the first was kept.
pub(super) async fn record(
    connection: &mut SqliteConnection,
) -> Result<Option<ClockRecord>, sqlx::Error> {
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
    let Moment(line) = kept.try_get("line")?;
    let Moment(now) = kept.try_get("now")?;
    let uptime = SignedDuration::from_micros(kept.try_get("uptime")?);
    Ok(Some(ClockRecord {
        line,
        last: Look { now, uptime },
        present,
        past,
    }))
}

fn stretch(row: &SqliteRow) -> Result<Stretch, sqlx::Error> {
    let Moment(from) = row.try_get("begun")?;
    let Moment(until) = row.try_get("ended")?;
    Ok(Stretch {
        from,
        until,
        behind: SignedDuration::from_micros(row.try_get("behind")?),
        of_this_boot: row.try_get("of_this_boot")?,
    })
}

fn microseconds(length: SignedDuration) -> i64 {
    let longest = if length.is_negative() {
        i64::MIN
    } else {
        i64::MAX
    };
    i64::try_from(length.as_micros()).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Store;
    use super::super::testing::{TestStore, at};
    use super::*;

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
