//! Writing to standard output. A failure to write is an error of the command.

use std::{
    fmt::Display,
    io::{self, BufWriter, ErrorKind, StdoutLock, Write},
};

use serde::Serialize;

use super::CommandError;
use crate::printable::PrintableJson;

/// Standard output, buffered. The caller flushes it at the end.
pub(super) fn writer() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

pub(super) fn write_lines(
    lines: impl IntoIterator<Item = impl Display>,
) -> Result<(), CommandError> {
    let mut out = writer();
    let mut lines = lines.into_iter();
    let written = lines.try_for_each(|line| writeln!(out, "{line}"));
    written.and_then(|()| out.flush()).or_else(excused)
}

pub(super) fn write_line(line: impl Display) -> Result<(), CommandError> {
    write_lines([line])
}

/// Writes a value as one line of JSON that is safe to show on a terminal.
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

/// Turns a failure to write into an error of the command. A reader that stops
/// early, such as `head`, is no failure.
pub(super) fn excused(error: io::Error) -> Result<(), CommandError> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(CommandError::other(format!(
            "standard output can't be written: {error}; make room, or name another file. Changes \
             that the command made stay"
        ))),
    }
}

/// Reports the steps of a command, each as soon as it is done. A failure to write
/// stops no step: the command goes on, and ends with the error.
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

    /// The first failure to write, if there was one.
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
