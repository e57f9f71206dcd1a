//! A connection to SQLite. It stays on the thread that uses it: no statement waits for another
//! thread.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, OpenFlags, Statement, ToSql};

use crate::store::database::error::DatabaseError;
use crate::store::database::row::{Cell, Row};
use crate::store::database::settings::StoreSettings;
use crate::store::database::values::{Bind, Value};

/// Statements that a connection keeps prepared: more than the store has.
const PREPARED: usize = 256;

/// Pages in the write-ahead log after which they are moved into the database. Most are the same
/// few, written again by each commit, so that a long log moves fewer. It still fits the part of the
/// file system's reserve that is for it. The program that `integration/bench/bare.rs` measures beside
/// the store has the same pragmas.
const CHECKPOINT_AFTER: u32 = 3_000;

/// Bytes that the write-ahead log may keep once its pages are in the database: as many pages, and
/// one more batch.
const JOURNAL_SIZE_LIMIT: u32 = 16 << 20;

/// A connection to an SQLite database.
pub(crate) struct SqliteConnection {
    connection: rusqlite::Connection,
    /// By the text of the statement.
    shapes: HashMap<Box<str>, Shape>,
}

/// The parameters and columns of a statement, as this program names them.
struct Shape {
    /// For each parameter, in SQLite's order, its place among the values: `$2` is the second.
    places: Vec<usize>,
    columns: Arc<[String]>,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read and change.
    Write,
    /// Read only.
    Read,
    /// Read a file that nothing else uses: no lock is taken, and no file made beside it.
    ReadAlone,
}

impl SqliteConnection {
    /// Connects to the database of these settings, which must exist.
    pub(crate) fn open(settings: &StoreSettings, access: Access) -> Result<Self, DatabaseError> {
        let connection = Self::plain(&settings.path, access)?;
        connection.connection.busy_timeout(settings.busy_timeout)?;
        let synchronous = match settings.is_synchronous() {
            true => "FULL",
            false => "OFF",
        };
        connection.run(&format!(
            "PRAGMA synchronous = {synchronous};
             PRAGMA foreign_keys = ON;
             PRAGMA wal_autocheckpoint = {CHECKPOINT_AFTER};
             PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT};
             -- Deleted mail and replaced keys must be gone.
             PRAGMA secure_delete = ON;
             PRAGMA temp_store = MEMORY;
             PRAGMA trusted_schema = OFF;
             PRAGMA cell_size_check = ON;"
        ))?;
        Ok(connection)
    }

    /// Connects to a file as SQLite does by itself.
    pub(crate) fn plain(path: &Path, access: Access) -> Result<Self, DatabaseError> {
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
            | match access {
                Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
                Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
                Access::ReadAlone => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
            };
        let name = match access {
            Access::ReadAlone => Cow::Owned(immutable(path).into()),
            Access::Write | Access::Read => Cow::Borrowed(path),
        };
        let connection = rusqlite::Connection::open_with_flags(name, flags)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        // Otherwise SQLite plans some statements anew each time, in case the new values make another
        // plan better.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(Self {
            connection,
            shapes: HashMap::new(),
        })
    }

    /// Interrupts each statement once `is_over` says so. It is asked about each thousand pages of
    /// a check, and each thousand instructions of any other statement.
    pub(super) fn interrupt_when(
        &mut self,
        is_over: impl FnMut() -> bool + Send + 'static,
    ) -> Result<(), DatabaseError> {
        Ok(self.connection.progress_handler(1_000, Some(is_over))?)
    }

    /// Runs statements without values, and ignores the rows that they give.
    pub(crate) fn run(&self, statements: &str) -> Result<(), DatabaseError> {
        Ok(self.connection.execute_batch(statements)?)
    }

    pub(crate) fn execute(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<u64, DatabaseError> {
        let (mut statement, _) = self.prepare(statement, values)?;
        Ok(statement.raw_execute()? as u64)
    }

    /// Runs an INSERT of one row, and returns the number of the row.
    pub(crate) fn insert(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<i64, DatabaseError> {
        self.execute(statement, values)?;
        Ok(self.connection.last_insert_rowid())
    }

    /// How many rows the connection has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.connection.total_changes()
    }

    /// Gives each row to `take`. Reads to the end: what a statement changes beside the rows that it
    /// gives is changed then.
    pub(crate) fn each(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
        take: &mut dyn FnMut(Row) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let (mut statement, columns) = self.prepare(statement, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let cells = (0..columns.len()).map(|place| cell(row.get_ref(place)?));
            take(Row {
                columns: columns.clone(),
                cells: cells.collect::<Result<_, _>>()?,
            })?;
        }
        Ok(())
    }

    /// Prepares a statement with its values. Names its columns too.
    fn prepare(
        &mut self,
        statement: &str,
        values: &[&dyn Bind],
    ) -> Result<(CachedStatement<'_>, Arc<[String]>), DatabaseError> {
        let mut prepared = self.connection.prepare_cached(statement)?;
        if self.shapes.len() > PREPARED {
            self.shapes.clear();
        }
        let shape = match self.shapes.get(statement) {
            Some(shape) => shape,
            None => self
                .shapes
                .entry(statement.into())
                .or_insert(Shape::of(&prepared)?),
        };
        for (parameter, place) in shape.places.iter().enumerate() {
            let value = values.get(*place).ok_or_else(|| no_value(*place + 1))?;
            prepared.raw_bind_parameter(parameter + 1, value.value())?;
        }
        Ok((prepared, shape.columns.clone()))
    }

    /// Closes the connection, which the last one of a database does with its write-ahead log too.
    pub(crate) fn close(self) -> Result<(), DatabaseError> {
        self.connection.close().map_err(|(_, error)| error.into())
    }
}

/// The name of a file for SQLite that says that nothing changes it (sqlite.org/uri.html).
fn immutable(path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = path.replace('%', "%25");
    let path = path.replace('?', "%3f").replace('#', "%23");
    format!("file:{path}?immutable=1")
}

impl Shape {
    /// SQLite takes `$2` for a name, and numbers names as they come.
    fn of(statement: &Statement<'_>) -> Result<Self, DatabaseError> {
        let place = |parameter| {
            let name = statement.parameter_name(parameter)?;
            name.strip_prefix('$')?
                .parse::<usize>()
                .ok()?
                .checked_sub(1)
        };
        let places = (1..=statement.parameter_count())
            .map(|parameter| place(parameter).ok_or_else(|| no_value(parameter)));
        let columns = statement.column_names().map(str::to_owned);
        Ok(Self {
            places: places.collect::<Result<_, _>>()?,
            columns: columns.collect(),
        })
    }
}

fn no_value(parameter: usize) -> DatabaseError {
    DatabaseError::encode(format!("no value for parameter {parameter} of a statement"))
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Integer(Some(value)) => ToSqlOutput::from(*value),
            Self::Text(Some(value)) => ToSqlOutput::from(value.as_ref()),
            Self::Bytes(Some(value)) => ToSqlOutput::from(*value),
            Self::Integer(None) | Self::Text(None) | Self::Bytes(None) => ToSqlOutput::from(Null),
        })
    }
}

fn cell(value: ValueRef<'_>) -> Result<Cell, DatabaseError> {
    Ok(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Integer(value),
        ValueRef::Text(text) => {
            let text = str::from_utf8(text);
            Cell::Text(text.map_err(DatabaseError::content)?.to_owned())
        }
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_owned()),
        ValueRef::Real(_) => {
            return Err(DatabaseError::content("a number with a fraction"));
        }
    })
}
