//! The database itself: its file, its connections, and the one task that writes. Knows the
//! tables of no room but the clock's, and the places where the audit log's key changed.

pub(crate) mod arrivals;
pub(crate) mod changes;
mod clock;
pub(crate) mod columns;
pub(crate) mod error;
pub(crate) mod files;
mod former_keys;
pub(crate) mod in_use;
pub(crate) mod integrity;
mod migrations;
pub(crate) mod open;
pub(crate) mod room;
pub(crate) mod settings;
pub(crate) mod store;
mod write_ahead_log;
mod writer;
