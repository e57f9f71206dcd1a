//! The two forms of a list: lines for people, a JSON array for scripts.

use std::fmt::Display;

use clap::Args;
use serde_json::Value;

use super::{
    CommandError,
    standard_output::{write_json, write_lines},
};

/// The form that the command line asks for.
#[derive(Debug, Args)]
pub(super) struct Form {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

impl Form {
    /// Writes a list: an object or a line for each element.
    pub(super) fn write<T, L: Display>(
        &self,
        list: &[T],
        object: impl Fn(&T) -> Value,
        line: impl Fn(&T) -> L,
    ) -> Result<(), CommandError> {
        self.write_table(list, object, || list.iter().map(line))
    }

    /// Writes a list: an object for each element, or the lines of a table.
    pub(super) fn write_table<T, L: IntoIterator<Item = impl Display>>(
        &self,
        list: &[T],
        object: impl Fn(&T) -> Value,
        lines: impl FnOnce() -> L,
    ) -> Result<(), CommandError> {
        match self.json {
            true => write_json(&list.iter().map(object).collect::<Value>()),
            false => write_lines(lines()),
        }
    }
}
