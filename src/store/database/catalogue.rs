//! What the engine itself says of a table: its columns, and the number of its next row.

use super::connection::Connection;
use super::error::DatabaseError;
use super::row::{Cell, Row};
use super::values::{Bind, Value};

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    kind: Kind,
}

/// The types that the schema has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Text,
    Bytes,
}

impl Connection {
    /// The columns of a table, by their names.
    pub(crate) fn columns(&mut self, table: &str) -> Result<Vec<Column>, DatabaseError> {
        let columns = match self {
            Self::Sqlite(_) => "SELECT name, type FROM pragma_table_info($1) ORDER BY name",
            Self::Postgresql(_) => {
                "SELECT CAST(attname AS TEXT) COLLATE \"C\" AS name,
                     format_type(atttypid, NULL) AS type
                 FROM pg_attribute
                 WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
                 ORDER BY name"
            }
        };
        let rows = self.all(columns, &[&table])?;
        rows.iter().map(Column::read).collect()
    }

    /// Makes the next row of a table follow the last. Its rows came with their numbers.
    pub(crate) fn number_on(&mut self, table: &str) -> Result<(), DatabaseError> {
        match self {
            // Follows the last by itself.
            Self::Sqlite(_) => Ok(()),
            Self::Postgresql(connection) => {
                let next = format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', 'sequence'), max(sequence))
                     FROM {table}"
                );
                connection.run(&next).map(drop)
            }
        }
    }
}

impl Column {
    fn read(row: &Row) -> Result<Self, DatabaseError> {
        let kind = match row.get::<String>("type")?.as_str() {
            "INTEGER" | "bigint" => Kind::Integer,
            "TEXT" | "text" => Kind::Text,
            "BLOB" | "bytea" => Kind::Bytes,
            other => return Err(DatabaseError::content(format!("a column of type {other}"))),
        };
        Ok(Self {
            name: row.get("name")?,
            kind,
        })
    }

    /// The value that a row has in this column, to be bound again.
    pub(crate) fn of<'a>(&self, row: &'a Row) -> Result<RowValue<'a>, DatabaseError> {
        let (cell, kind) = (row.cell(&self.name)?, self.kind);
        Ok(RowValue { cell, kind })
    }
}

/// A value from a row. A missing one has the type of its column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowValue<'a> {
    cell: &'a Cell,
    kind: Kind,
}

impl Bind for RowValue<'_> {
    fn value(&self) -> Value<'_> {
        match (self.cell, self.kind) {
            (Cell::Integer(number), _) => Value::Integer(Some(*number)),
            (Cell::Text(text), _) => Value::Text(Some(text.into())),
            (Cell::Bytes(bytes), _) => Value::Bytes(Some(bytes)),
            (Cell::Null, Kind::Integer) => Value::Integer(None),
            (Cell::Null, Kind::Text) => Value::Text(None),
            (Cell::Null, Kind::Bytes) => Value::Bytes(None),
        }
    }
}
