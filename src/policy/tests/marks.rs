//! The list of marks before a Subject, entry by entry, made from the list itself.

use super::Mail;
use crate::policy::RuleName;
use crate::policy::lists::{Mark, SUBJECT_MARKS, mark_of};

#[test]
fn each_mark_names_its_reason() {
    for entry in SUBJECT_MARKS {
        let subjects = match entry.mark {
            Mark::Prefix(mark) => vec![
                format!("{mark}: {{KMS:Help}} 17"),
                format!("{}:{{KMS:Help}}", mark.to_uppercase()),
                format!(" [vending] {mark} :  {{KMS:Help}}"),
                format!("{mark}[2]: {{KMS:Help}}"),
                format!("{mark}(12)：{{KMS:Help}}"),
                format!("\u{200f}{mark}: {{KMS:Help}}"),
            ],
            Mark::Phrase(mark) => vec![
                mark.to_owned(),
                format!("{} - {{KMS:Help}}", mark.to_uppercase()),
                format!("[vending] {}", mark.replace(' ', "\u{a0}")),
            ],
        };
        for subject in subjects {
            let found = mark_of(&subject).unwrap_or_else(|| panic!("{subject} has no mark"));
            assert_eq!(found.kind, entry.kind, "{subject}");
            let reason = Mail::request()
                .having("Subject", &subject)
                .is_ignored_by(RuleName("subject"));
            assert!(reason.contains(entry.kind.in_words()), "{reason}");
        }
    }
}

#[test]
fn what_only_looks_like_a_mark_has_no_name() {
    for entry in SUBJECT_MARKS {
        let subjects = match entry.mark {
            Mark::Prefix(mark) => vec![
                format!("x{mark}: y"),
                format!("y {mark}: z"),
                format!("{mark}x: y"),
            ],
            Mark::Phrase(mark) => vec![format!("x{mark}"), format!("{mark}x")],
        };
        for subject in subjects {
            let found = mark_of(&subject).filter(|found| found.mark == entry.mark);
            assert!(found.is_none(), "{subject}: {found:?}");
        }
    }
    for subject in [
        "Report: x",
        "{KMS:Help} Re: x",
        "Fwd",
        "",
        "Regarding: x",
        "[vending",
    ] {
        assert!(mark_of(subject).is_none(), "{subject}");
    }
}
