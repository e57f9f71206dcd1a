//! Writing to standard error. If that fails there is nobody left to be told.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Writes a line.
pub(super) fn write_line(line: impl Display) {
    // In one piece, so that no other process writes within it.
    let line = format!("{line}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}
