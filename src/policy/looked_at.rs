//! Shows the part of a message that a rule looks at, in one printable line for
//! a person. Decides nothing.

use crate::mail::{Header, Headers};
use crate::printable::Printable;

use super::dnsbl::Score;
use super::facts::Facts;
use super::lists::FieldEntry;

/// The most characters shown.
const SHOWN: usize = 60;

/// The most characters shown of the zones' answers, which are the longest.
const SHOWN_OF_ZONES: usize = 240;

/// The most recipients shown.
const RECIPIENTS: usize = 3;

/// The part of a message that a rule looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LooksAt {
    /// The first of these fields that the message has.
    Fields(&'static [&'static str]),
    /// The first field of the message that is in this list.
    Listed(&'static [FieldEntry]),
    /// Something else, which the function shows.
    Other(fn(&Facts<'_>) -> String),
    /// Nothing of the message: the rule looks at the sender's allowances.
    Allowances,
}

impl LooksAt {
    /// The part as text; None for [`LooksAt::Allowances`].
    pub(super) fn shown(self, facts: &Facts<'_>) -> Option<String> {
        match self {
            LooksAt::Fields(names) => Some(first_of(names, facts.headers)),
            LooksAt::Listed(list) => Some(first_listed(list, facts.headers)),
            LooksAt::Other(show) => Some(show(facts)),
            LooksAt::Allowances => None,
        }
    }
}

pub(super) fn recipients(facts: &Facts<'_>) -> String {
    let all = facts.envelope.recipients;
    let first: Vec<String> = all
        .iter()
        .take(RECIPIENTS)
        .map(ToString::to_string)
        .collect();
    let more = match all.len().saturating_sub(RECIPIENTS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shortened(&format!("RCPT TO {}{more}", first.join(", ")))
}

pub(super) fn client(facts: &Facts<'_>) -> String {
    let Some(client) = facts.envelope.client.address else {
        return "no client address".to_owned();
    };
    match facts.envelope.dnsbl {
        Some(score) => shortened_to(SHOWN_OF_ZONES, &format!("{client}: {}", of_score(score))),
        None if facts.settings.trusts(&facts.envelope.client) => {
            format!("{client}, which is trusted")
        }
        None => client.to_string(),
    }
}

pub(super) fn reverse_path(facts: &Facts<'_>) -> String {
    shortened(&format!("MAIL FROM {}", facts.envelope.reverse_path))
}

pub(super) fn received(facts: &Facts<'_>) -> String {
    format!("{} Received", facts.headers.get_all("Received").count())
}

pub(super) fn header_size(facts: &Facts<'_>) -> String {
    let headers = facts.headers;
    format!("{} fields, {} octets", headers.len(), headers.size())
}

pub(super) fn content_type(facts: &Facts<'_>) -> String {
    let essence = facts.structure.content_type.essence();
    shortened(&format!("Content-Type: {essence}"))
}

pub(super) fn subject(facts: &Facts<'_>) -> String {
    match facts.headers.first("Subject") {
        Some(subject) => shortened(&format!("Subject: {}", subject.decoded())),
        None => "no Subject".to_owned(),
    }
}

pub(super) fn size(facts: &Facts<'_>) -> String {
    let attached: usize = facts.structure.attachments().map(|part| part.size()).sum();
    format!("{} octets, {attached} attached", facts.size)
}

/// The score, the sites that count, and the zones that gave no answer.
fn of_score(score: &Score) -> String {
    let hits = score
        .hits
        .iter()
        .map(|hit| format!("{} {} {:+}", hit.zone, hit.code, hit.weight));
    let failures = score
        .failures
        .iter()
        .map(|failure| format!("{} {}", failure.zone, failure.reason));
    let answers: Vec<String> = hits.chain(failures).collect();
    let (total, threshold) = (score.total, score.threshold);
    match answers.is_empty() {
        true => format!("score {total} of {threshold}"),
        false => format!("score {total} of {threshold}: {}", answers.join(", ")),
    }
}

fn first_of(names: &[&str], headers: &Headers) -> String {
    let found = names.iter().find_map(|name| headers.first(name));
    match (found, names.first()) {
        (Some(header), _) => field(header),
        (None, Some(name)) => format!("no {name}"),
        (None, None) => String::new(),
    }
}

fn first_listed(list: &[FieldEntry], headers: &Headers) -> String {
    let found = headers
        .iter()
        .find(|header| list.iter().any(|entry| header.is(entry.field)));
    found.map_or_else(|| format!("none of {} patterns", list.len()), field)
}

fn field(header: &Header) -> String {
    shortened(&format!("{}: {}", header.name(), header.unfolded().trim()))
}

fn shortened(text: &str) -> String {
    shortened_to(SHOWN, text)
}

fn shortened_to(limit: usize, text: &str) -> String {
    let kept: String = text.chars().take(limit).collect();
    let mark = match text.chars().nth(limit) {
        Some(_) => "…",
        None => "",
    };
    format!("{}{mark}", Printable(&kept))
}
