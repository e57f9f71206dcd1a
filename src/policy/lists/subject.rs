//! Finds the marks at the start of a Subject.

use crate::printable::is_invisible;

/// A mark at the start of a Subject, and the kind of message that it means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubjectEntry {
    /// The mark, in lower case.
    pub(crate) mark: Mark,
    /// The kind of message.
    pub(crate) kind: MarkKind,
    /// The language, and the program if only one writes the mark.
    pub(crate) source: &'static str,
}

/// The form of a mark at the start of a Subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Before a colon, perhaps with a count: `Re:`, `RE[2]:`, `Re (3) :`.
    Prefix(&'static str),
    /// As the first words of the Subject.
    Phrase(&'static str),
}

/// The kind of message that a mark means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkKind {
    /// A person's answer.
    Reply,
    /// A message that a person sent on.
    Forward,
    /// A program's answer.
    Automatic,
    /// A report about delivery.
    Bounce,
    /// A report about reading.
    Receipt,
    /// An answer to an invitation.
    Calendar,
}

impl MarkKind {
    /// The kind in words.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            MarkKind::Reply => "a reply",
            MarkKind::Forward => "a forwarded message",
            MarkKind::Automatic => "an automatic answer",
            MarkKind::Bounce => "a delivery report",
            MarkKind::Receipt => "a receipt",
            MarkKind::Calendar => "a calendar answer",
        }
    }
}

/// The most characters of a Subject that are looked at.
const MAX_LOOKED_AT: usize = 200;

/// The first entry of a list that a decoded Subject begins with, tags in
/// brackets aside.
pub(super) fn first_that_begins(
    list: &'static [SubjectEntry],
    subject: &str,
) -> Option<&'static SubjectEntry> {
    let folded = fold(subject);
    let start = without_tags(&folded);
    list.iter().find(|entry| entry.mark.begins(start))
}

/// In lower case, with single plain blanks, without characters that cannot be seen.
fn fold(subject: &str) -> String {
    let mut folded = String::new();
    for c in subject.chars().take(MAX_LOOKED_AT) {
        if c.is_whitespace() || c.is_control() {
            if !folded.is_empty() && !folded.ends_with(' ') {
                folded.push(' ');
            }
        } else if !is_invisible(c) {
            folded.extend(c.to_lowercase());
        }
    }
    folded
}

/// List managers and mail filters put `[name]` before a Subject.
fn without_tags(subject: &str) -> &str {
    let mut rest = subject;
    while let Some((_, after)) = rest
        .strip_prefix('[')
        .and_then(|tagged| tagged.split_once(']'))
    {
        rest = after.trim_start();
    }
    rest
}

impl Mark {
    fn begins(self, subject: &str) -> bool {
        match self {
            Mark::Prefix(prefix) => subject.strip_prefix(prefix).is_some_and(colon_follows),
            Mark::Phrase(phrase) => subject
                .strip_prefix(phrase)
                .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric)),
        }
    }
}

/// Whether a colon follows, a dot and a count in brackets or after `*` or `^` aside.
fn colon_follows(rest: &str) -> bool {
    let rest = rest.trim_start();
    let rest = rest.trim_start_matches(['.', '[', '(', '*', '^']);
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.trim_start_matches([']', ')']);
    rest.trim_start().starts_with([':', '：', '﹕', '︰'])
}
