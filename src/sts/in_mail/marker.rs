//! The two markers: `-----STS:VKLOAD.REQ.1 BEGINS-----` and `... ENDS-----`.
//!
//! Works on the text of a [`Line`](super::line::Line), which has single blanks
//! and one kind of dash.

use crate::sts::record::{MAXIMUM_TYPE_LENGTH, is_record_type};

const PREFIX: &str = "STS:";
const BEGINS: &str = "BEGINS";
const ENDS: &str = "ENDS";

/// Any number of blanks and dashes may stand around a marker.
const RULE: [char; 2] = ['-', ' '];

/// A marker, and the rest of its line without dashes and blanks at either end.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Marker<'line> {
    pub(super) kind: &'line str,
    pub(super) rest: &'line str,
}

/// The BEGINS marker that `text` starts with.
pub(super) fn begins(text: &str) -> Option<Marker<'_>> {
    let marker = read(text.trim_start_matches(RULE), BEGINS)?;
    let Marker { kind, rest } = marker;
    (kind.starts_with(rest) || rest.starts_with(kind)).then_some(marker)
}

/// The first ENDS marker in `text`, and the text before it.
pub(super) fn ends(text: &str) -> Option<(&str, Marker<'_>)> {
    text.match_indices(PREFIX).find_map(|(position, _)| {
        let (before, marker) = text.split_at_checked(position)?;
        Some((before, read(marker, ENDS)?))
    })
}

/// Whether a marker was broken at its blank into the lines `first` and `second`.
pub(super) fn is_broken(first: &str, second: &str) -> bool {
    let kind = first.rsplit_once(PREFIX).map(|(_, kind)| kind);
    (second.starts_with(BEGINS) || second.starts_with(ENDS)) && kind.is_some_and(is_record_type)
}

/// Reads a marker without the dashes before it. Looks at a bounded number of
/// characters unless a marker is there.
fn read<'line>(text: &'line str, word: &str) -> Option<Marker<'line>> {
    let text = text.strip_prefix(PREFIX)?;
    let blank = text
        .bytes()
        .take(MAXIMUM_TYPE_LENGTH + 1)
        .position(|byte| byte == b' ')?;
    let (kind, behind) = text.split_at_checked(blank)?;
    let rest = behind.trim_start().strip_prefix(word)?;
    is_record_type(kind).then(|| Marker {
        kind,
        rest: rest.trim_matches(RULE),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_begins_marker_has_any_number_of_dashes() {
        for text in [
            "-----STS:PK.ECDH.1 BEGINS-----",
            "STS:PK.ECDH.1 BEGINS",
            "- -- STS:PK.ECDH.1 BEGINS --",
            "--STS:PK.ECDH.1 BEGINS",
        ] {
            assert_eq!(
                begins(text),
                Some(Marker {
                    kind: "PK.ECDH.1",
                    rest: ""
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn only_the_record_may_follow_a_begins_marker() {
        let rest = |text| begins(text).map(|marker| marker.rest);
        assert_eq!(rest("STS:A.1 BEGINS-- A.1|B|"), Some("A.1|B|"));
        assert_eq!(rest("STS:A.1 BEGINS-- A"), Some("A"));
        assert_eq!(rest("STS:A.1 BEGINS the record"), None);
    }

    #[test]
    fn other_texts_are_no_markers() {
        for text in [
            "",
            "STS:",
            "STS:A.1",
            "STS:A.1 ",
            "STS:A.1 BEGIN",
            "STS:a.1 BEGINS",
            "x STS:A.1 BEGINS",
            "STS:A BEGINS",
            "STS:A.1BEGINS",
            "STS: BEGINS",
        ] {
            assert_eq!(begins(text), None, "{text}");
        }
    }

    #[test]
    fn an_ends_marker_may_stand_anywhere() {
        let (before, marker) = ends("X|STS:x|FB39 --STS:A.1 ENDS-- Regards").unwrap();
        assert_eq!(before, "X|STS:x|FB39 --");
        assert_eq!(
            marker,
            Marker {
                kind: "A.1",
                rest: "Regards"
            }
        );
        assert_eq!(ends("STS:STS:A.1 BEGINS"), None);
    }

    #[test]
    fn a_marker_may_be_broken_at_its_blank() {
        assert!(is_broken("-----STS:A.1", "BEGINS-----"));
        assert!(is_broken("FB39-----STS:A.1", "ENDS"));
        assert!(!is_broken("-----STS:A", "BEGINS-----"));
        assert!(!is_broken("-----STS:A.1", "A.1|"));
    }
}
