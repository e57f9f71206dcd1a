//! The database itself: its file, its connections, and the one task that writes. Knows the
//! tables of no room but the clock's, and the places where the audit log's key changed.

mod arrivals;
mod changes;
mod clock;
mod columns;
mod error;
mod files;
mod former_keys;
mod in_use;
pub(crate) mod integrity;
mod migrations;
pub(crate) mod open;
pub(crate) mod room;
mod settings;
mod store;
mod write_ahead_log;
mod writer;

pub(crate) use self::arrivals::{Arrivals, Due};
pub(crate) use self::changes::Changes;
pub(crate) use self::columns::{Moment, length, microseconds, moment, optional_text, text};
pub use self::error::StoreError;
pub(crate) use self::error::{Failure, remedy};
pub(crate) use self::files::cannot;
pub(crate) use self::files::give_to_owner;
pub(crate) use self::in_use::InUse;
pub use self::settings::StoreSettings;
pub use self::store::Store;
