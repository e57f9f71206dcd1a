//! Keeps how the clock ran for the next start. `crate::clock_record` draws the conclusions.

use super::changes::Changes;
use super::connection::Connection;
use super::error::{DatabaseError, Failure, StoreError};
use super::row::Row;
use super::store::Store;
use crate::time::{ClockRecord, Look, Stretch};

impl Store {
    /// How the clock ran until the record was last kept. None before the first time.
    pub(crate) async fn clock_record(&self) -> Result<Option<ClockRecord>, StoreError> {
        let node = self.settings().clock_node();
        self.read(move |connection| record(&node, connection)).await
    }

    /// Replaces the record of how the clock ran.
    pub(crate) async fn keep_clock_record(&self, record: ClockRecord) -> Result<(), StoreError> {
        self.change(move |changes| keep(&record, changes)).await
    }
}

fn keep(record: &ClockRecord, changes: &mut Changes<'_>) -> Result<(), Failure> {
    let node = changes.settings.clock_node();
    changes.connection.execute(
        "INSERT INTO clock (node, line, now, uptime) VALUES ($1, $2, $3, $4)
         ON CONFLICT (node) DO UPDATE SET
             line = excluded.line, now = excluded.now, uptime = excluded.uptime",
        &[&node, &record.line, &record.last.now, &record.last.uptime],
    )?;
    changes
        .connection
        .execute("DELETE FROM clock_stretches WHERE node = $1", &[&node])?;
    let stretches = record.past.iter().chain([&record.present]);
    for (place, stretch) in stretches.enumerate() {
        changes.connection.execute(
            "INSERT INTO clock_stretches (node, place, begun, ended, behind, of_this_boot)
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                &node,
                &place,
                &stretch.from,
                &stretch.until,
                &stretch.behind,
                &stretch.of_this_boot,
            ],
        )?;
    }
    Ok(())
}

fn record(node: &str, connection: &mut Connection) -> Result<Option<ClockRecord>, DatabaseError> {
    let kept = connection.optional(
        "SELECT line, now, uptime FROM clock WHERE node = $1",
        &[&node],
    )?;
    let rows = connection.all(
        "SELECT begun, ended, behind, of_this_boot FROM clock_stretches WHERE node = $1
         ORDER BY place",
        &[&node],
    )?;
    let mut past: Vec<Stretch> = rows.iter().map(stretch).collect::<Result<_, _>>()?;
    let (Some(kept), Some(present)) = (kept, past.pop()) else {
        return Ok(None);
    };
    Ok(Some(ClockRecord {
        line: kept.get("line")?,
        last: Look {
            now: kept.get("now")?,
            uptime: kept.get("uptime")?,
        },
        present,
        past,
    }))
}

fn stretch(row: &Row) -> Result<Stretch, DatabaseError> {
    Ok(Stretch {
        from: row.get("begun")?,
        until: row.get("ended")?,
        behind: row.get("behind")?,
        of_this_boot: row.get("of_this_boot")?,
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
