//! Asks a question in one line, and reads the answer. Knows a terminal only as lines
//! that come and go.

use std::io::{self, BufRead, Write};

use super::CommandError;

/// In bytes; more than any answer.
const LONGEST_LINE: u64 = 64 * 1024;

/// Writes the prompt and reads a line. None at the end of the answers.
pub(super) fn next_line(
    answers: &mut impl BufRead,
    prompts: &mut impl Write,
    prompt: &str,
) -> Result<Option<String>, CommandError> {
    let mut ask = || -> io::Result<Option<String>> {
        write!(prompts, "{prompt}: ")?;
        prompts.flush()?;
        let mut line = String::new();
        let read = io::Read::take(&mut *answers, LONGEST_LINE).read_line(&mut line)?;
        Ok((read > 0).then_some(line))
    };
    ask().map_err(|error| CommandError::other(format_args!("can't ask: {error}")))
}
