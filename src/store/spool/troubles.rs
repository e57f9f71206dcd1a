//! Failed attempts at requests and deliveries that still wait.

use jiff::Timestamp;

use crate::store::database::{Connection, DatabaseError};

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

/// Notes the trouble of an attempt, and forgets those that are no longer among the latest.
pub(super) fn note(
    of: Of,
    attempt: u32,
    at: Timestamp,
    trouble: &str,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    let (note, forget) = match of {
        Of::Request(_) => (
            "INSERT INTO request_troubles (request, attempt, at, trouble)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (request, attempt) DO UPDATE SET
                 at = excluded.at, trouble = excluded.trouble",
            "DELETE FROM request_troubles WHERE request = $1 AND attempt <= $2",
        ),
        Of::Delivery(_) => (
            "INSERT INTO delivery_troubles (delivery, attempt, at, trouble)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (delivery, attempt) DO UPDATE SET
                 at = excluded.at, trouble = excluded.trouble",
            "DELETE FROM delivery_troubles WHERE delivery = $1 AND attempt <= $2",
        ),
    };
    connection.execute(note, &[&of.row(), &attempt, &at, &trouble])?;
    connection.execute(forget, &[&of.row(), &attempt.saturating_sub(KEPT)])?;
    Ok(())
}

/// The troubles that are kept, the oldest first.
pub(super) fn of(of: Of, connection: &mut Connection) -> Result<Vec<Trouble>, DatabaseError> {
    let list = match of {
        Of::Request(_) => {
            "SELECT attempt, at, trouble FROM request_troubles
             WHERE request = $1 ORDER BY attempt"
        }
        Of::Delivery(_) => {
            "SELECT attempt, at, trouble FROM delivery_troubles
             WHERE delivery = $1 ORDER BY attempt"
        }
    };
    let rows = connection.all(list, &[&of.row()])?;
    rows.iter()
        .map(|row| {
            Ok(Trouble {
                attempt: row.get("attempt")?,
                at: row.get("at")?,
                text: row.get("trouble")?,
            })
        })
        .collect()
}
