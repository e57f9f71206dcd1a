//! What went wrong with attempts at requests and deliveries that still wait.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::columns::Moment;
use super::values::Trouble;

/// How many are kept of one request or delivery: the latest.
const KEPT: u32 = 20;

/// Of what, by its row.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Request(i64),
    Delivery(i64),
}

impl Of {
    fn row(self) -> i64 {
        let (Self::Request(row) | Self::Delivery(row)) = self;
        row
    }
}

/// Notes the trouble of an attempt.
pub(super) async fn note(
    of: Of,
    attempt: u32,
    at: Timestamp,
    trouble: &str,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let add = match of {
        Of::Request(_) => "INSERT OR REPLACE INTO request_troubles VALUES (?, ?, ?, ?)",
        Of::Delivery(_) => "INSERT OR REPLACE INTO delivery_troubles VALUES (?, ?, ?, ?)",
    };
    sqlx::query(add)
        .bind(of.row())
        .bind(attempt)
        .bind(Moment(at))
        .bind(trouble)
        .execute(&mut *connection)
        .await?;
    let forget = match of {
        Of::Request(_) => "DELETE FROM request_troubles WHERE request = ? AND attempt <= ?",
        Of::Delivery(_) => "DELETE FROM delivery_troubles WHERE delivery = ? AND attempt <= ?",
    };
    sqlx::query(forget)
        .bind(of.row())
        .bind(attempt.saturating_sub(KEPT))
        .execute(connection)
        .await?;
    Ok(())
}

/// Those that are kept, the oldest first.
pub(super) async fn of(
    of: Of,
    connection: &mut SqliteConnection,
) -> Result<Vec<Trouble>, sqlx::Error> {
    let list = match of {
        Of::Request(_) => {
            "SELECT attempt, at, trouble FROM request_troubles
             WHERE request = ? ORDER BY attempt"
        }
        Of::Delivery(_) => {
            "SELECT attempt, at, trouble FROM delivery_troubles
             WHERE delivery = ? ORDER BY attempt"
        }
    };
    let rows = sqlx::query(list)
        .bind(of.row())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Trouble {
                attempt: row.try_get("attempt")?,
                at: row.try_get::<Moment, _>("at")?.0,
                text: row.try_get("trouble")?,
            })
        })
        .collect()
}
