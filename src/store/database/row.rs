//! Rows of the database, and their values as this program has them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::error::DatabaseError;

/// A row that a statement gave.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(super) columns: Arc<[String]>,
    pub(super) cells: Vec<Cell>,
}

/// A value as it is in the database. What is true or false there is 1 or 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Row {
    /// The value of a column.
    ///
    /// # Errors
    /// If it is none of this type.
    pub(crate) fn get<T: FromCell>(&self, column: &str) -> Result<T, DatabaseError> {
        self.read(column, self.cell(column)?)
    }

    /// The value of a column as it is in the database.
    pub(super) fn cell(&self, column: &str) -> Result<&Cell, DatabaseError> {
        let place = self.columns.iter().position(|name| name == column);
        let cell = place.and_then(|place| self.cells.get(place));
        cell.ok_or_else(|| DatabaseError::content(format!("no column {column}")))
    }

    /// The value of the first column.
    pub(super) fn first<T: FromCell>(&self) -> Result<T, DatabaseError> {
        let column = self.columns.first().map_or("", String::as_str);
        self.read(column, self.cells.first().unwrap_or(&Cell::Null))
    }

    fn read<T: FromCell>(&self, column: &str, cell: &Cell) -> Result<T, DatabaseError> {
        T::from_cell(cell)
            .ok_or_else(|| DatabaseError::content(format!("column {column}: not {}", T::NAME)))
    }

    /// A value that its column holds as text.
    pub(crate) fn text<T>(&self, column: &str) -> Result<T, DatabaseError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        parse(column, &self.get::<String>(column)?)
    }

    /// The same for a column that may be NULL.
    pub(crate) fn optional_text<T>(&self, column: &str) -> Result<Option<T>, DatabaseError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text: Option<String> = self.get(column)?;
        text.map(|text| parse(column, &text)).transpose()
    }
}

/// The content itself may be a stranger's, and is not in the error.
fn parse<T: FromStr<Err: fmt::Display>>(column: &str, text: &str) -> Result<T, DatabaseError> {
    text.parse()
        .map_err(|error| DatabaseError::content(format!("column {column}: {error}")))
}

/// A type that is read from a column.
pub(crate) trait FromCell: Sized {
    /// What a value of this type is, in words.
    const NAME: &'static str;

    /// None if the cell has no value of this type.
    fn from_cell(cell: &Cell) -> Option<Self>;
}

impl<T: FromCell> FromCell for Option<T> {
    const NAME: &'static str = T::NAME;

    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}

/// How a type is read from a cell of one kind.
macro_rules! reads {
    ($($type:ty, $name:literal: $kind:ident => $read:expr;)*) => {$(
        impl FromCell for $type {
            const NAME: &'static str = $name;

            fn from_cell(cell: &Cell) -> Option<Self> {
                match cell {
                    Cell::$kind(value) => {
                        let read: fn(&_) -> Option<$type> = $read;
                        read(value)
                    }
                    _ => None,
                }
            }
        }
    )*};
}

reads! {
    i64, "a number": Integer => |value| Some(*value);
    u8, "a number from 0 to 255": Integer => |value: &i64| u8::try_from(*value).ok();
    u32, "a number from 0 on": Integer => |value: &i64| u32::try_from(*value).ok();
    u64, "a number from 0 on": Integer => |value: &i64| u64::try_from(*value).ok();
    bool, "0 or 1": Integer => |value: &i64| match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    Timestamp, "a moment": Integer => |value: &i64| Timestamp::from_microsecond(*value).ok();
    SignedDuration, "a length of time": Integer => |value| Some(SignedDuration::from_micros(*value));
    String, "a text": Text => |value: &String| Some(value.clone());
    Vec<u8>, "bytes": Bytes => |value: &Vec<u8>| Some(value.clone());
}

impl<const N: usize> FromCell for [u8; N] {
    const NAME: &'static str = "so many bytes as it should be";

    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Bytes(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        }
    }
}
