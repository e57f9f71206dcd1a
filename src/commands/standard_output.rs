//! Writing to standard output, whoever reads it.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use super::CommandError;

/// Standard output, to be flushed in the end.
pub(super) fn writer() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Writes lines.
pub(super) fn write_lines(
    lines: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<(), CommandError> {
    let mut out = writer();
    let mut lines = lines.into_iter();
    let written = lines.try_for_each(|line| writeln!(out, "{}", line.as_ref()));
    written.and_then(|()| out.flush()).or_else(excused)
}

/// A reader that has seen enough, such as `head`, is no trouble.
pub(super) fn excused(error: io::Error) -> Result<(), CommandError> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(CommandError::other(format!(
            "standard output can't be written: {error}"
        ))),
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
