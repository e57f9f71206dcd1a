//! Everything that a database holds, counted before it is copied and compared afterwards.

use super::error::CopyError;
use super::rows::{Selected, count};
use super::side::Side;
use super::tables::{Rows, TABLES};
use crate::audit::Head;
use crate::store::StoreError;
use crate::store::audit::log;
use crate::store::database::require_newest;

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Each table with the number of its rows.
    pub(crate) tables: Vec<(&'static str, u64)>,
    /// The newest audit entry.
    pub(crate) head: Head,
}

/// What a database holds.
pub(super) struct Content {
    /// The rows of each table, and how many there are.
    tables: Vec<(Selected, u64)>,
    /// How often the secrets were changed.
    secrets: i64,
    head: Head,
}

impl Content {
    /// Counts it. That may take long, so no other database should wait meanwhile.
    pub(super) fn of(from: &mut Side<'_>) -> Result<Self, StoreError> {
        from.with(require_newest)?;
        let mut tables = Vec::with_capacity(TABLES.len());
        for table in TABLES {
            let selected = Selected::of(table, from);
            let rows = selected.count(from)?;
            tables.push((selected, rows));
        }
        Ok(Self {
            tables,
            secrets: from.run(|connection| connection.scalar("SELECT secrets FROM writer", &[]))?,
            head: from.run(log::head)?,
        })
    }

    /// Copies it, and compares the numbers of rows and the ends of both audit logs.
    pub(super) fn copy(&self, from: &mut Side<'_>, to: &mut Side<'_>) -> Result<Copied, CopyError> {
        let mut tables = Vec::with_capacity(self.tables.len());
        for (selected, rows) in &self.tables {
            selected.copy(from, to)?;
            let (name, found) = (selected.table().name, count(selected.table(), to)?);
            if found != *rows {
                let found = format!("{found} rows arrived of the {rows} in table {name}");
                return Err(differs(to, found));
            }
            tables.push((name, found));
        }
        let secrets = "UPDATE writer SET secrets = $1";
        to.run(|connection| connection.execute(secrets, &[&self.secrets]))?;
        let (head, arrived) = (self.head, to.run(log::head)?);
        match arrived == head {
            true => Ok(Copied { tables, head }),
            false => {
                let found = format!("the audit log ends at {arrived} and not at {head}");
                Err(differs(to, found))
            }
        }
    }
}

fn differs(to: &Side<'_>, found: String) -> CopyError {
    CopyError::Differs {
        place: to.place(),
        found,
    }
}

/// Refuses a database in which a gateway has left anything.
pub(super) fn require_empty(target: &mut Side<'_>) -> Result<(), CopyError> {
    let mut found = Vec::new();
    for table in TABLES.iter().filter(|table| table.rows != Rows::Started) {
        match count(table, target)? {
            0 => {}
            rows => found.push(format!("{} ({rows})", table.name)),
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(CopyError::Taken {
            place: target.place(),
            found: found.join(", "),
        }),
    }
}
