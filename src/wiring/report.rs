//! The installer's lines for the admin, in order.

use std::path::Path;

/// A line for the admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A change or a finding.
    Said(String),
    /// A finding that needs the admin's attention.
    Warned(String),
}

/// All lines of one run.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Line>);

impl Report {
    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.0.push(Line::Said(text.into()));
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.0.push(Line::Warned(text.into()));
    }

    /// The lines in their order.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.0
    }
}

/// The command that makes Postfix read its files again.
pub(super) fn reload(directory: &Path) -> String {
    let directory = directory.display();
    format!("    postfix -c {directory} check && postfix -c {directory} reload")
}
