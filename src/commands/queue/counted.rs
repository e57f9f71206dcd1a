//! Counts the requests that an order selects, in words.

use std::collections::BTreeSet;

use super::super::CommandError;
use crate::{printable::Printable, request_id::RequestId, store::Selected};

/// Number of senders that are named as examples.
const EXAMPLES: usize = 3;

pub(super) struct Counted {
    /// The unanswered requests: `1 request`.
    pub(super) requests: String,
    /// The replies and notices: `2 replies and notices`.
    pub(super) replies: String,
    /// The senders, some by name: `1 sender: <a@b.example>`.
    pub(super) senders: String,
}

impl Counted {
    pub(super) fn of(selected: &[Selected]) -> Self {
        let unanswered = selected.iter().filter(|request| request.is_unanswered);
        let replies = selected.iter().map(|request| request.replies).sum();
        let paths: BTreeSet<&str> = selected
            .iter()
            .map(|request| request.reverse_path.as_str())
            .collect();
        Self {
            requests: counted(unanswered.count() as u64, "request", "requests"),
            replies: counted(replies, "reply or notice", "replies and notices"),
            senders: senders(&paths),
        }
    }
}

fn senders(paths: &BTreeSet<&str>) -> String {
    let shown = paths.iter().take(EXAMPLES).map(|path| {
        let path = if path.is_empty() { "<>" } else { path };
        Printable(path).to_string()
    });
    let shown: Vec<String> = shown.collect();
    let names = shown.join(", ");
    let count = counted(paths.len() as u64, "sender", "senders");
    match paths.len() > EXAMPLES {
        true => format!("{count} such as {names}"),
        false => format!("{count}: {names}"),
    }
}

/// A number and its noun.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// The error for an order about a finished request.
pub(super) fn finished(id: RequestId) -> CommandError {
    CommandError::other(format!(
        "nothing of {id} waits: it is finished; queue show {id} shows its result"
    ))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn selected(number: u8, path: &str) -> Selected {
        Selected {
            request_id: RequestId::from_bytes([number; 16]),
            accepted_at: Timestamp::UNIX_EPOCH,
            reverse_path: path.to_owned(),
            is_unanswered: number > 1,
            is_throttled: false,
            replies: 2,
        }
    }

    #[test]
    fn all_are_counted_and_some_are_named() {
        let mut many = vec![
            selected(1, "<a@b.example>"),
            selected(2, "<a@b.example>"),
            selected(3, "\u{1b}[31m"),
        ];
        let counted = Counted::of(&many);
        assert_eq!(counted.requests, "2 requests");
        assert_eq!(counted.replies, "6 replies and notices");
        assert_eq!(counted.senders, "2 senders: \\u{1b}[31m, <a@b.example>");
        for number in 4..9 {
            many.push(selected(number, &format!("<x{number}@b.example>")));
        }
        let counted = Counted::of(&many);
        assert_eq!(
            counted.senders,
            "7 senders such as \\u{1b}[31m, <a@b.example>, <x4@b.example>"
        );
        let one = Counted::of(&many[2..3]);
        assert_eq!(one.requests, "1 request");
    }
}
