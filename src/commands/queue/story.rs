//! A request's story from the audit log, in words.

use jiff::Timestamp;

use super::super::placed::Placed;
use crate::{
    audit::{Entry, Event},
    printable::Printable,
    time::relative::ago,
};

/// The entry of the request's acceptance. None if retention has removed it.
pub(super) fn acceptance(history: &[Placed]) -> Option<&Entry> {
    let mut entries = history.iter().map(|placed| &placed.entry);
    entries.find(|entry| entry.event == Event::Accepted)
}

/// The judgement at the acceptance. The log has only the deciding rule.
pub(super) fn judgement(acceptance: &Entry) -> String {
    let verdict = acceptance.verdict.as_deref().unwrap_or("request");
    let because = match (&acceptance.rule, &acceptance.reason) {
        (Some(rule), Some(reason)) => format!("by {rule}: {reason}"),
        (Some(rule), None) => format!("by {rule}"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "no rule matched".to_owned(),
    };
    Printable(&format!("{verdict}, {because}")).to_string()
}

/// A line for each entry: its time, its age and the event.
pub(super) fn lines(history: &[Placed], now: Timestamp) -> Vec<String> {
    history
        .iter()
        .map(|Placed { sequence, entry }| {
            let happened = happened(entry);
            format!(
                "{}  {} (entry {sequence}): {}",
                entry.time,
                ago(entry.time, now),
                Printable(&happened)
            )
        })
        .collect()
}

/// The event of an entry in words, with its reason or detail.
fn happened(entry: &Entry) -> String {
    let to = match &entry.target {
        Some(target) => format!(" for {target}"),
        None => String::new(),
    };
    let operator = entry.operator.as_deref().unwrap_or("an operator");
    let code = entry.code.as_deref().unwrap_or_default();
    let is_notice = entry.result.as_deref() == Some("Notice");
    let reply = if is_notice { "notice" } else { "reply" };
    let what = match entry.event {
        Event::Accepted if is_notice => format!("accepted, and the notice {code} made"),
        Event::Accepted => "accepted".to_owned(),
        Event::Duplicate => {
            let times = entry.count.map(|count| format!(" {count} times"));
            let times = times.unwrap_or_default();
            format!("the same message came again{times} and was not taken again")
        }
        Event::Postponed if is_notice => format!("the notice {code} made{to}"),
        Event::Postponed if entry.target.is_some() => format!("the reply{to} put off"),
        Event::Postponed => "the answer put off".to_owned(),
        Event::Completed => format!("answered{}", result(entry)),
        Event::Delivered => format!("the {reply}{to} handed to Postfix"),
        Event::Undeliverable => format!("the {reply}{to} given up"),
        Event::Retried => format!("{operator} had it tried again"),
        Event::Dropped if entry.target.is_some() => format!("{operator} dropped the reply{to}"),
        Event::Dropped => format!("{operator} dropped the request"),
        event => event.as_str().to_owned(),
    };
    let attempts = match entry.attempts {
        Some(attempts) if attempts > 1 => format!(", {attempts} attempts"),
        _ => String::new(),
    };
    let said = [&entry.reason, &entry.detail].into_iter().flatten().next();
    match said {
        Some(said) => format!("{what}{attempts}: {said}"),
        None => format!("{what}{attempts}"),
    }
}

/// The final result, and the Message-ID of its reply.
fn result(entry: &Entry) -> String {
    let words = [&entry.result, &entry.code].into_iter().flatten();
    let mut result: String = words.map(|word| format!(" {word}")).collect();
    match &entry.reply_message_id {
        Some(id) => result.push_str(&format!(", by {id}")),
        None => result.push_str(" by nothing: there is no reply"),
    }
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::SignedDuration;

    use super::*;

    fn time() -> Timestamp {
        "2026-03-01T12:00:00.25Z".parse().unwrap()
    }

    fn line(entry: Entry) -> String {
        let placed = Placed { sequence: 7, entry };
        let now = time() + SignedDuration::from_mins(3);
        lines(&[placed], now).pop().unwrap()
    }

    fn entry(event: Event, set: impl FnOnce(&mut Entry)) -> Entry {
        let mut entry = Entry::new(time(), event);
        set(&mut entry);
        entry
    }

    #[test]
    fn each_event_is_told_with_its_reason() {
        let text = |text: &str| Some(text.to_owned());
        let cases = [
            (entry(Event::Accepted, |_| ()), "accepted"),
            (
                entry(Event::Postponed, |entry| entry.reason = text("KMS away")),
                "the answer put off: KMS away",
            ),
            (
                entry(Event::Postponed, |entry| {
                    entry.result = text("Notice");
                    entry.code = text("Deferred");
                }),
                "the notice Deferred made",
            ),
            (
                entry(Event::Completed, |entry| {
                    entry.result = text("Error");
                    entry.code = text("EVkloadExpired");
                    entry.reply_message_id = text("<1@kms>");
                    entry.attempts = Some(3);
                }),
                "answered Error EVkloadExpired, by <1@kms>, 3 attempts",
            ),
            (
                entry(Event::Delivered, |entry| {
                    entry.target = text("a@b.example");
                    entry.detail = text("250 queued");
                    entry.attempts = Some(1);
                }),
                "the reply for a@b.example handed to Postfix: 250 queued",
            ),
            (
                entry(Event::Dropped, |entry| {
                    entry.operator = text("jane (uid 0)");
                    entry.reason = text("asked\r\nby phone");
                }),
                "jane (uid 0) dropped the request: asked\\r\\nby phone",
            ),
        ];
        for (entry, expected) in cases {
            assert_eq!(
                line(entry),
                format!("2026-03-01T12:00:00.25Z  3 min ago (entry 7): {expected}")
            );
        }
    }

    #[test]
    fn a_judgement_is_what_the_log_says_of_it() {
        let accepted = entry(Event::Accepted, |entry| {
            entry.verdict = Some("defer".to_owned());
            entry.rule = Some("flood".to_owned());
            entry.reason = Some("over its allowance".to_owned());
        });
        assert_eq!(judgement(&accepted), "defer, by flood: over its allowance");
        let plain = entry(Event::Accepted, |_| ());
        assert_eq!(judgement(&plain), "request, no rule matched");
    }
}
