//! What the tables of commands share.

use jiff::Timestamp;

/// The columns of a terminal that doesn't tell.
const DEFAULT_WIDTH: usize = 80;

/// A time to the second.
pub(super) fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The columns of the terminal on standard output.
pub(super) fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| width.0.into())
}

/// At most `width` characters, a cut marked.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(['…']).collect()
}
