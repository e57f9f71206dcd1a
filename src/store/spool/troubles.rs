//! Failed attempts at requests and deliveries that still wait.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::store::database::{Moment, moment};

/// Troubles kept of one request or delivery: the latest.
const KEPT: u32 = 20;

/// The reason why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Number of the attempt, 1 for the first.
    pub(crate) attempt: u32,
    /// When the attempt had failed.
    pub(crate) at: Timestamp,
    /// The reason in words.
    pub(crate) text: String,
}

/// The row of a request or of a delivery.
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

pub(super) async fn note(
    of: Of,
    attempt: u32,
    at: Timestamp,
    trouble: &str,
    connection: &mut SqliteConnection,
) -> sqlx::Result<()> {
    let note = match of {
        Of::Request(_) => {
            "INSERT OR REPLACE INTO request_troubles VALUES (?1, ?2, ?3, ?4);
             DELETE FROM request_troubles WHERE request = ?1 AND attempt <= ?5"
        }
        Of::Delivery(_) => {
            "INSERT OR REPLACE INTO delivery_troubles VALUES (?1, ?2, ?3, ?4);
             DELETE FROM delivery_troubles WHERE delivery = ?1 AND attempt <= ?5"
        }
    };
    sqlx::query(note)
        .bind(of.row())
        .bind(attempt)
        .bind(Moment(at))
        .bind(trouble)
        .bind(attempt.saturating_sub(KEPT))
        .execute(connection)
        .await?;
    Ok(())
}

/// The troubles that are kept, the oldest first.
pub(super) async fn of(of: Of, connection: &mut SqliteConnection) -> sqlx::Result<Vec<Trouble>> {
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
                at: moment(row, "at")?,
                text: row.try_get("trouble")?,
            })
        })
        .collect()
}
