//! Writing to standard output, whoever reads it. What can't be written is an
//! error of the command.

use std::{
    fmt::Display,
    io::{self, BufWriter, ErrorKind, StdoutLock, Write},
};

use serde::Serialize;

use super::CommandError;
use crate::printable::PrintableJson;

/// Standard output, to be flushed in the end.
pub(super) fn writer() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Writes lines.
pub(super) fn write_lines(
    lines: impl IntoIterator<Item = impl Display>,
) -> Result<(), CommandError> {
    let mut out = writer();
    let mut lines = lines.into_iter();
    let written = lines.try_for_each(|line| writeln!(out, "{line}"));
    written.and_then(|()| out.flush()).or_else(excused)
}

/// Writes a line.
pub(super) fn write_line(line: impl Display) -> Result<(), CommandError> {
    write_lines([line])
}

/// Writes a value as JSON in one line, which is safe to look at.
pub(super) fn write_json(value: &impl Serialize) -> Result<(), CommandError> {
    let json = serde_json::to_string(value).map_err(CommandError::other)?;
    write_line(PrintableJson(&json))
}

/// Writes text that has its own line ends.
pub(super) fn write_text(text: impl Display) -> Result<(), CommandError> {
    let mut out = writer();
    let written = write!(out, "{text}");
    written.and_then(|()| out.flush()).or_else(excused)
}

/// A reader that has seen enough, such as `head`, is no trouble.
pub(super) fn excused(error: io::Error) -> Result<(), CommandError> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(CommandError::other(format!(
            "standard output can't be written: {error}; make room, or name another file. What the \
             command changed stays changed"
        ))),
    }
}

/// The steps of a command, each written as soon as it is done. None is left
/// out because the one before couldn't be written: that is an error in the end.
pub(super) struct Steps(Result<(), CommandError>);

impl Steps {
    pub(super) fn begin() -> Self {
        Self(Ok(()))
    }

    /// Writes lines about a step that is done.
    pub(super) fn done(&mut self, lines: impl IntoIterator<Item = impl Display>) {
        if self.0.is_ok() {
            self.0 = write_lines(lines);
        }
    }

    /// Whether all could be written.
    pub(super) fn end(self) -> Result<(), CommandError> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_seen_enough_is_no_trouble() {
        assert!(excused(ErrorKind::BrokenPipe.into()).is_ok());
        assert!(excused(ErrorKind::StorageFull.into()).is_err());
    }
}
