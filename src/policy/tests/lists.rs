//! Properties of all lists.

use std::collections::HashSet;

use super::fields::field_entries;
use super::senders::instance;
use crate::policy::lists::{Mark, RELAYS, REPORTS, SENDERS, SUBJECT_MARKS};

#[test]
fn no_entry_is_twice_or_without_a_source() {
    let fields = field_entries().map(|(_, entry)| {
        (
            format!("{} {:?}", entry.field.to_lowercase(), entry.value),
            entry.source,
        )
    });
    let senders = SENDERS
        .iter()
        .map(|entry| (format!("{:?}", entry.form), entry.source));
    let relays = RELAYS
        .iter()
        .map(|entry| (format!("{:?}", entry.form), entry.source));
    let reports = REPORTS
        .iter()
        .map(|entry| (entry.to_string(), entry.source));
    let marks = SUBJECT_MARKS
        .iter()
        .map(|entry| (format!("{:?}", entry.mark), entry.source));
    let mut seen = HashSet::new();
    for (entry, source) in fields
        .chain(senders)
        .chain(relays)
        .chain(reports)
        .chain(marks)
    {
        assert!(!source.is_empty(), "{entry} has no source");
        assert!(seen.insert(entry.clone()), "{entry} is twice");
    }
}

/// Comparison is against lower case, so an entry in another case would never match.
#[test]
fn entries_are_in_lower_case() {
    let marks = SUBJECT_MARKS.iter().map(|entry| match entry.mark {
        Mark::Prefix(mark) | Mark::Phrase(mark) => mark,
    });
    for mark in marks {
        assert_eq!(mark, mark.to_lowercase());
    }
    for entry in SENDERS {
        let local = instance(entry.form);
        assert_eq!(local, local.to_lowercase());
    }
}
