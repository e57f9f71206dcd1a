//! Copies a store from one engine to the other: moves it whole, or into a file while it is in use.
//! Knows the names of the tables and nothing of what is in them.

mod content;
mod error;
mod moving;
mod rows;
mod side;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use self::content::Copied;
pub(crate) use self::error::CopyError;
pub(super) use self::moving::copy_into_file;
pub(crate) use self::moving::move_store;
