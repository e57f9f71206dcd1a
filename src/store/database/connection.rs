//! A connection to the database of either engine. Statements are written once for both; what
//! differs is here.

use jiff::Timestamp;

use super::error::DatabaseError;
use super::postgresql::{Begun, PostgresqlConnection, durability, schema};
use super::row::{FromCell, Row};
use super::settings::StoreSettings;
use super::sqlite::{Access, SqliteConnection};
use super::values::Bind;

/// A connection to the database. `$1` in a statement is the first of the values beside it.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgresql(Box<PostgresqlConnection>),
}

impl Connection {
    /// The connection by which the one writer of a store writes.
    pub(crate) fn writing(settings: &StoreSettings) -> Result<Self, DatabaseError> {
        Self::open(settings, Access::Write)
    }

    /// A connection that only reads.
    pub(crate) fn reading(settings: &StoreSettings) -> Result<Self, DatabaseError> {
        Self::open(settings, Access::Read)
    }

    fn open(settings: &StoreSettings, access: Access) -> Result<Self, DatabaseError> {
        let Some(postgresql) = &settings.postgresql else {
            return SqliteConnection::open(settings, access).map(Self::Sqlite);
        };
        let mut connection = PostgresqlConnection::open(postgresql)?;
        durability::require(&mut connection)?;
        Ok(Self::Postgresql(Box::new(connection)))
    }

    /// Begins a transaction that changes something, alone among all that do. Several gateways
    /// learn from the database what the others did meanwhile.
    pub(crate) fn begin(
        &mut self,
        settings: &StoreSettings,
    ) -> Result<Option<Begun>, DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.run("BEGIN IMMEDIATE").map(|()| None),
            Self::Postgresql(connection) => connection.begin(settings.busy_timeout).map(Some),
        }
    }

    /// Begins a transaction that reads everything as it is at one moment.
    pub(crate) fn begin_reading(&mut self) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.run("BEGIN"),
            Self::Postgresql(connection) => connection.begin_reading(),
        }
    }

    /// The same, and nobody changes anything until it ends.
    pub(crate) fn begin_reading_alone(
        &mut self,
        settings: &StoreSettings,
    ) -> Result<(), DatabaseError> {
        match self {
            // SQLite's lock for changes. Nothing is written.
            Self::Sqlite(connection) => connection.run("BEGIN IMMEDIATE"),
            Self::Postgresql(connection) => connection.begin_reading_alone(settings.busy_timeout),
        }
    }

    /// Begins a transaction that changes the schema, alone among all that do.
    pub(super) fn begin_migration(
        &mut self,
        settings: &StoreSettings,
    ) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.run("BEGIN IMMEDIATE"),
            Self::Postgresql(connection) => connection.begin_migration(settings.busy_timeout),
        }
    }

    /// Runs statements that make tables, written in SQLite's words.
    pub(super) fn define(&mut self, statements: &str) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.run(statements),
            Self::Postgresql(connection) => {
                connection.run(&schema::translated(statements)).map(drop)
            }
        }
    }

    /// Runs statements that have no values and give no rows.
    pub(crate) fn run(&mut self, statements: &str) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.run(statements),
            Self::Postgresql(connection) => connection.run(statements).map(drop),
        }
    }

    /// Whether the database has a table of this name.
    pub(super) fn has_table(&mut self, name: &str) -> Result<bool, DatabaseError> {
        let found = match self {
            Self::Sqlite(_) => {
                "SELECT count(*) > 0 FROM sqlite_schema WHERE type = 'table' AND name = $1"
            }
            Self::Postgresql(_) => "SELECT to_regclass($1) IS NOT NULL",
        };
        self.scalar(found, &[&name])
    }

    /// A number that changes with each commit that others make.
    pub(super) fn mark_of_others(&mut self) -> Result<(i64, Option<Begun>), DatabaseError> {
        match self {
            // On one connection SQLite counts all commits but its own.
            Self::Sqlite(_) => Ok((self.scalar("PRAGMA data_version", &[])?, None)),
            Self::Postgresql(connection) => {
                let begun = connection.look()?;
                Ok((begun.commits, Some(begun)))
            }
        }
    }

    /// What a database of several gateways says of itself. None of an SQLite database.
    pub(super) fn look(&mut self) -> Result<Option<Begun>, DatabaseError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgresql(connection) => connection.look().map(Some),
        }
    }

    /// The time by the clock that counts for this database.
    pub(crate) fn now(&mut self) -> Result<Timestamp, DatabaseError> {
        Ok(self.look()?.map_or_else(Timestamp::now, |begun| begun.now))
    }

    /// Leaves the database so that the next process opens it quickly. False if another program's
    /// reading prevents that.
    pub(crate) fn settle(&mut self) -> Result<bool, DatabaseError> {
        match self {
            // Moves the write-ahead log into the database, and empties it.
            Self::Sqlite(_) => {
                let busy: i64 = self.scalar("PRAGMA wal_checkpoint(TRUNCATE)", &[])?;
                Ok(busy == 0)
            }
            Self::Postgresql(_) => Ok(true),
        }
    }

    /// Writes these tables anew, without what was deleted or replaced in them.
    pub(crate) fn rebuild(&mut self, tables: &[&str]) -> Result<(), DatabaseError> {
        match self {
            // Knows only the whole file.
            Self::Sqlite(connection) => connection.run("VACUUM"),
            Self::Postgresql(connection) => tables
                .iter()
                .try_for_each(|table| connection.run(&format!("VACUUM FULL {table}")).map(drop)),
        }
    }

    pub(crate) fn close(self) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.close(),
            Self::Postgresql(connection) => {
                drop(connection);
                Ok(())
            }
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
            Self::Postgresql(connection) => connection.execute(statement, values),
        }
    }

    /// Runs an INSERT of one row into a table that numbers its rows in the column `sequence`. Returns
    /// the number.
    pub(crate) fn insert(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<i64, DatabaseError> {
        match self {
            // For RETURNING, SQLite keeps a copy of each page that the statement changes.
            Self::Sqlite(connection) => connection.insert(statement, values),
            Self::Postgresql(_) => self.scalar(&format!("{statement} RETURNING sequence"), values),
        }
    }

    /// A number that grows with each change of a row in a transaction.
    pub(super) fn changes(&self) -> u64 {
        match self {
            Self::Sqlite(connection) => connection.changes(),
            Self::Postgresql(connection) => connection.changes(),
        }
    }

    /// Gives each row of a statement to `take`, one after the other.
    ///
    /// A change with RETURNING is dear in SQLite: it makes a table for the rows that it gives, and
    /// keeps a copy of each page that it changes. Where each request passes, read a row before it is
    /// changed.
    pub(crate) fn each(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
        mut take: impl FnMut(Row) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.each(statement, values, &mut take),
            Self::Postgresql(connection) => connection.each(statement, values, &mut take),
        }
    }

    /// All rows that a statement gives.
    pub(crate) fn all(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<Vec<Row>, DatabaseError> {
        let mut rows = Vec::new();
        self.each(statement, values, |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
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
        row.ok_or_else(|| DatabaseError::content("a row is missing"))
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
