//! SQLite, the embedded engine: its file, its locks, and whether the file is sound.

mod check_in_use;
mod connection;
mod files;
mod found_damage;
mod in_use;
pub(crate) mod integrity;
pub(crate) mod open;
mod write_ahead_log;

pub(crate) use self::check_in_use::{Checked, check_in_use};
pub(crate) use self::connection::{Access, SqliteConnection};
pub(super) use self::files::directory_of;
pub(crate) use self::files::{cannot, give_to_owner};
pub(crate) use self::in_use::InUse;
pub(crate) use self::integrity::{Check, NEWEST_ROWS};
