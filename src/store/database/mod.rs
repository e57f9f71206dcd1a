//! The database itself: its engine, its connections, transactions, and the one thread that writes.
//! Knows the tables of no room but the clock's, and the places where the audit log's key changed.

mod arrivals;
mod catalogue;
mod changes;
mod clock;
mod connection;
mod description;
mod due;
mod error;
mod former_keys;
mod migrations;
mod opening;
mod postgresql;
mod readers;
pub(crate) mod room;
mod row;
mod settings;
mod shared_clock;
pub(crate) mod sqlite;
mod store;
mod values;
mod whole_check;
mod writer;

pub(crate) use self::catalogue::{Column, RowValue};
pub(crate) use self::changes::Changes;
pub(crate) use self::connection::Connection;
pub(crate) use self::due::{Due, Kind};
pub use self::due::{Idle, Looked};
pub(crate) use self::error::Failure;
pub use self::error::{DatabaseError, StoreError};
pub(crate) use self::former_keys::with_former;
pub(crate) use self::migrations::require_newest;
pub(crate) use self::opening::{Sharing, begin_filling, open};
#[cfg(test)]
pub(crate) use self::postgresql::PostgresqlSettings;
#[cfg(test)]
pub(crate) use self::row::FromCell;
pub(crate) use self::row::Row;
pub use self::settings::StoreSettings;
pub(crate) use self::shared_clock::SharedClock;
pub(crate) use self::sqlite::{Check, Checked, cannot, give_to_owner};
pub use self::store::Store;
pub(crate) use self::values::{Bind, Text, places};
