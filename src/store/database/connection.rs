//! A connection to the database: runs statements, which are written once for both engines.

use super::error::DatabaseError;
use super::row::{FromCell, Row};
use super::settings::StoreSettings;
use super::sqlite::{Access, SqliteConnection};
use super::values::Bind;

/// A connection to the database. `$1` in a statement is the first of the values beside it.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
}

impl Connection {
    /// The connection by which the one writer of a store writes.
    pub(super) fn writing(settings: &StoreSettings) -> Result<Self, DatabaseError> {
        SqliteConnection::open(settings, Access::Write).map(Self::Sqlite)
    }

    /// A connection that can't write.
    pub(super) fn reading(settings: &StoreSettings) -> Result<Self, DatabaseError> {
        SqliteConnection::open(settings, Access::Read).map(Self::Sqlite)
    }

    /// Begins a transaction that changes something, alone among all that do.
    pub(super) fn begin(&mut self) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.run("BEGIN IMMEDIATE"),
        }
    }

    /// Runs statements that have no values and give no rows.
    pub(crate) fn run(&mut self, statements: &str) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.run(statements),
        }
    }

    /// Whether the database has a table of this name.
    pub(super) fn has_table(&mut self, name: &str) -> Result<bool, DatabaseError> {
        match self {
            Self::Sqlite(_) => self.scalar(
                "SELECT count(*) > 0 FROM sqlite_schema WHERE type = 'table' AND name = $1",
                &[&name],
            ),
        }
    }

    /// A number that changes with each commit that others make.
    pub(super) fn mark_of_others(&mut self) -> Result<i64, DatabaseError> {
        match self {
            // On one connection SQLite counts all commits but its own.
            Self::Sqlite(_) => self.scalar("PRAGMA data_version", &[]),
        }
    }

    /// Leaves the database so that the next process opens it quickly.
    pub(super) fn settle(&mut self) -> Result<(), DatabaseError> {
        match self {
            // Moves the write-ahead log into the database.
            Self::Sqlite(connection) => connection.run("PRAGMA wal_checkpoint(TRUNCATE)"),
        }
    }

    pub(crate) fn close(self) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.close(),
        }
    }

    /// Runs a statement. Returns the number of rows that it changed.
    pub(crate) fn execute(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<u64, DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.execute(statement, values),
        }
    }

    /// All rows that a statement gives.
    pub(crate) fn all(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<Vec<Row>, DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.all(statement, values),
        }
    }

    /// The first row, if there is one.
    pub(crate) fn optional(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<Option<Row>, DatabaseError> {
        Ok(self.all(statement, values)?.into_iter().next())
    }

    /// The first row of a statement that always gives one.
    pub(crate) fn one(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<Row, DatabaseError> {
        let row = self.optional(statement, values)?;
        row.ok_or_else(|| DatabaseError::content("a row is missing".to_owned()))
    }

    /// The first column of such a row.
    pub(crate) fn scalar<T: FromCell>(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<T, DatabaseError> {
        self.one(statement, values)?.first()
    }
}
