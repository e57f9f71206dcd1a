//! The filters that select the entries a command shows.

use std::str::FromStr;

use clap::{Args, builder::PossibleValuesParser};
use jiff::{Timestamp, civil, tz::TimeZone};

use super::super::named_service::NamedService;
use crate::{
    audit::Entry,
    config::Period,
    mail::{Outcome, RESULT_CODES},
    policy::{self, Verdict},
};

/// Filters. An entry must pass all that are given. Case does not count.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Since this time: 2026-11-24, 2026-11-24T09:30:00Z, or 12h for 12 hours ago.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before this time; a date means its midnight in UTC.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// The reverse path, From or the address replied to contains this.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    sender: Option<String>,
    /// This rule of the policy decided.
    #[arg(long, value_name = "NAME", value_parser = rules(), ignore_case = true)]
    rule: Option<String>,
    /// This service was asked for: Help. A service that does not exist is given by its
    /// whole code: {KMS:Foo}.
    #[arg(long, value_name = "SERVICE")]
    service: Option<NamedService>,
    /// This verdict, result or result code: ignore, Success, EVkloadExpired.
    #[arg(
        long,
        value_name = "WORD",
        value_parser = results(),
        ignore_case = true,
        hide_possible_values = true
    )]
    result: Option<String>,
    /// The entry names this security module: its SMID, or a beginning that no other
    /// has.
    #[arg(long, value_name = "SMID")]
    pub(super) smid: Option<String>,
    /// This request: its id, the beginning of its id, or Postfix's queue id.
    #[arg(long, value_name = "ID")]
    pub(super) request: Option<String>,
    /// It happened at this gateway (gateway.node).
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only this number of entries, the newest.
    #[arg(long, visible_alias = "last", value_name = "NUMBER")]
    pub(super) limit: Option<usize>,
}

fn rules() -> PossibleValuesParser {
    let names = policy::RULES.iter().map(|rule| rule.name.as_str());
    names.collect::<Vec<_>>().into()
}

/// All words that an entry can have as its verdict, result or code.
fn results() -> PossibleValuesParser {
    let verdicts = Verdict::ALL.map(Verdict::as_str);
    let codes = RESULT_CODES.iter().map(|row| row.code);
    let words = verdicts.into_iter().chain(Outcome::KINDS).chain(codes);
    words.collect::<Vec<_>>().into()
}

/// A point in time as an operator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    At(Timestamp),
    Ago(Period),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        if let Ok(time) = text.parse::<civil::DateTime>()
            && let Ok(time) = TimeZone::UTC.to_timestamp(time)
        {
            return Ok(Self::At(time));
        }
        text.parse().map(Self::Ago).map_err(|_| {
            format!("{text:?} is no time; write 2026-11-24, 2026-11-24T09:30:00Z or 12h")
        })
    }
}

impl Moment {
    fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(period) => now
                .saturating_sub(period.as_signed())
                .unwrap_or(Timestamp::MIN),
        }
    }
}

impl Selection {
    /// The filter, its relative times counted from `now`.
    pub(super) fn filter(&self, now: Timestamp) -> Filter<'_> {
        Filter {
            since: self.since.map(|moment| moment.before(now)),
            until: self.until.map(|moment| moment.before(now)),
            sender: self.sender.as_ref().map(|text| text.to_lowercase()),
            selection: self,
        }
    }
}

/// A [`Selection`] with fixed times.
pub(super) struct Filter<'a> {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    sender: Option<String>,
    selection: &'a Selection,
}

impl Filter<'_> {
    pub(super) fn matches(&self, entry: &Entry) -> bool {
        let wanted = self.selection;
        self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time < until)
            && self.is_from(entry)
            && is_any(&wanted.rule, [&entry.rule])
            && is_for(wanted.service.as_ref(), entry.service.as_deref())
            && is_any(&wanted.result, [&entry.verdict, &entry.result, &entry.code])
            && self.names_module(entry)
            && is_any(&wanted.request, [&entry.request_id, &entry.queue_id])
            && is_any(&wanted.node, [&entry.node])
    }

    fn names_module(&self, entry: &Entry) -> bool {
        let wanted = self.selection.smid.as_ref();
        wanted.is_none_or(|wanted| smids(entry).any(|smid| smid.eq_ignore_ascii_case(wanted)))
    }

    fn is_from(&self, entry: &Entry) -> bool {
        self.sender.as_ref().is_none_or(|sender| {
            [&entry.reverse_path, &entry.from, &entry.target]
                .into_iter()
                .flatten()
                .any(|text| text.to_lowercase().contains(sender))
        })
    }
}

/// The SMIDs in an entry: its own field, and words of its detail, where a change of
/// the keys names its module.
pub(super) fn smids(entry: &Entry) -> impl Iterator<Item = &str> {
    let in_words = entry.detail.iter().flat_map(|detail| detail.split(' '));
    let words = entry.smid.iter().map(String::as_str).chain(in_words);
    words.filter(|word| word.starts_with("SMID."))
}

fn is_any<const N: usize>(wanted: &Option<String>, found: [&Option<String>; N]) -> bool {
    wanted.as_ref().is_none_or(|wanted| {
        found
            .into_iter()
            .flatten()
            .any(|text| text.eq_ignore_ascii_case(wanted))
    })
}

fn is_for(wanted: Option<&NamedService>, code: Option<&str>) -> bool {
    wanted.is_none_or(|service| code.is_some_and(|code| service.is(code)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;
    use crate::audit::Event;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry() -> Entry {
        Entry {
            request_id: Some("00ff".to_owned()),
            smid: Some("SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB47EA:2642".to_owned()),
            detail: Some("module SMID.1:Old:1 changed".to_owned()),
            reverse_path: Some("<Alice@Vendor.example>".to_owned()),
            service: Some("{KMS:Help}".to_owned()),
            result: Some("Error".to_owned()),
            code: Some("EVkloadExpired".to_owned()),
            node: Some("mx1".to_owned()),
            ..Entry::new(at("2026-11-24T10:00:00Z"), Event::Completed)
        }
    }

    fn selects(arguments: &[&str]) -> bool {
        let line = Line::try_parse_from([&["audit"], arguments].concat()).unwrap();
        line.selection
            .filter(at("2026-11-24T12:00:00Z"))
            .matches(&entry())
    }

    #[test]
    fn each_filter_lets_its_own_by_and_nothing_else() {
        let by = [
            ["--since", "2026-11-24"],
            ["--since", "2026-11-24T10:00:00Z"],
            ["--since", "2h"],
            ["--until", "1h"],
            ["--until", "2026-11-25"],
            ["--until", "2026-11-24T10:00:01"],
            ["--sender", "alice@vendor"],
            ["--service", "help"],
            ["--service", "{kms:help}"],
            ["--result", "error"],
            ["--result", "evkloadexpired"],
            ["--request", "00FF"],
            ["--node", "MX1"],
            [
                "--smid",
                "SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB47EA:2642",
            ],
            ["--smid", "SMID.1:Old:1"],
        ];
        let not_by = [
            ["--since", "2026-11-25"],
            ["--since", "1h"],
            ["--until", "2026-11-24"],
            ["--until", "2026-11-24T10:00:00Z"],
            ["--sender", "bob"],
            ["--sender", "-alice"],
            ["--rule", "subject"],
            ["--service", "GetPublicKey"],
            ["--service", "{KMS:Foo}"],
            ["--result", "Success"],
            ["--request", "00"],
            ["--node", "mx"],
            ["--smid", "SMID.1:Prism:94000304"],
            ["--smid", "SMID.1:Old"],
        ];
        assert!(selects(&[]));
        for arguments in by {
            assert!(selects(&arguments), "{arguments:?}");
        }
        for arguments in not_by {
            assert!(!selects(&arguments), "{arguments:?}");
        }
        assert!(!selects(&["--result", "Error", "--sender", "bob"]));
    }

    #[test]
    fn a_name_that_nothing_has_is_refused_with_those_that_there_are() {
        for (arguments, known) in [
            (["--rule", "nosuch"], "mailing-list"),
            (["--service", "nosuch"], "{KMS:GetKlfStsEd2}"),
            (["--result", "nosuch"], "EVkloadReplayed"),
            (["--result", ""], "Deferred"),
        ] {
            let line = [&["audit"], &arguments[..]].concat();
            let error = Line::try_parse_from(line).err().unwrap();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(known), "{error}");
        }
    }

    #[test]
    fn what_is_no_time_is_said_so() {
        for text in ["yesterday", "", "2026-13-01"] {
            assert!(text.parse::<Moment>().unwrap_err().contains("12h"));
        }
    }
}
