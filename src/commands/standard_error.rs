//! Writing to standard error. A failure is ignored: it can't be reported anywhere.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

pub(super) fn write_line(line: impl Display) {
    // One write, so that no other process writes within the line.
    let line = format!("{line}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}
