//! What of a message each rule looked at, in words for a person.

use crate::{
    mail::{Header, Headers},
    policy::{
        Facts, Rule, RuleName,
        dnsbl::Score,
        lists::{AUTO_RESPONDER, FieldEntry, MAILING_LIST},
    },
    printable::Printable,
};

/// The most characters shown of one thing.
const SHOWN: usize = 60;

/// The most characters shown of what zones say: it is what was asked for.
const SHOWN_OF_ZONES: usize = 240;

/// How many recipients are shown.
const RECIPIENTS: usize = 3;

type Look = fn(&Facts<'_>) -> String;

/// A rule that isn't here is told by its summary.
const LOOKS: &[(RuleName, Look)] = &[
    (RuleName::NotForGateway, |facts| {
        let recipients = facts.envelope.recipients.iter();
        let shown: Vec<String> = recipients
            .take(RECIPIENTS)
            .map(ToString::to_string)
            .collect();
        let more = facts.envelope.recipients.len().saturating_sub(RECIPIENTS);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        shown_of(&format!("RCPT TO {}{more}", shown.join(", ")))
    }),
    (RuleName::Dnsbl, |facts| {
        let client = match facts.envelope.client.address {
            Some(address) => address.to_string(),
            None => return "no client address".to_owned(),
        };
        match facts.envelope.dnsbl {
            Some(score) => shown_up_to(SHOWN_OF_ZONES, &format!("{client}: {}", of_score(score))),
            None if facts.settings.trusts(&facts.envelope.client) => {
                format!("{client}, which is trusted")
            }
            None => client,
        }
    }),
    (RuleName::ReturnPath, |facts| {
        shown_of(&format!("MAIL FROM {}", facts.envelope.reverse_path))
    }),
    (RuleName::OwnMail, |facts| {
        fields(&["X-Gateway-Result", "X-Loop", "From"], facts.headers)
    }),
    (RuleName::Hops, |facts| {
        format!("{} Received", facts.headers.get_all("Received").count())
    }),
    (RuleName::Malformed, |facts| {
        format!(
            "{} fields, {} octets",
            facts.headers.len(),
            facts.headers.size()
        )
    }),
    (RuleName::AutoSubmitted, |facts| {
        fields(&["Auto-Submitted"], facts.headers)
    }),
    (RuleName::Precedence, |facts| {
        fields(&["Precedence", "X-Precedence", "Preference"], facts.headers)
    }),
    (RuleName::MailingList, |facts| {
        listed(MAILING_LIST, facts.headers)
    }),
    (RuleName::AutoResponder, |facts| {
        listed(AUTO_RESPONDER, facts.headers)
    }),
    (RuleName::Report, |facts| {
        shown_of(&format!(
            "Content-Type: {}",
            facts.structure.content_type.essence()
        ))
    }),
    (RuleName::NotInTo, |facts| fields(&["To"], facts.headers)),
    (RuleName::Subject, |facts| {
        match facts.headers.first("Subject") {
            Some(subject) => shown_of(&format!("Subject: {}", subject.decoded())),
            None => "no Subject".to_owned(),
        }
    }),
    (RuleName::ReplyTarget, |facts| {
        fields(&["Reply-To", "From", "Sender"], facts.headers)
    }),
    (RuleName::Size, |facts| {
        let attached: usize = facts.structure.attachments().map(|part| part.size()).sum();
        format!("{} octets, {attached} attached", facts.size)
    }),
    (RuleName::SenderAuthentication, |facts| {
        fields(&["Authentication-Results"], facts.headers)
    }),
];

/// What `rule` looked at.
pub(super) fn looked_at(rule: &Rule, facts: &Facts<'_>) -> String {
    let look = LOOKS.iter().find(|(name, _)| *name == rule.name);
    look.map_or_else(|| rule.summary.to_owned(), |(_, look)| look(facts))
}

/// A score, the sites that made it, and the zones that said nothing.
fn of_score(score: &Score) -> String {
    let hits = score
        .hits
        .iter()
        .map(|hit| format!("{} {} {:+}", hit.zone, hit.code, hit.weight));
    let failures = score
        .failures
        .iter()
        .map(|failure| format!("{} {}", failure.zone, failure.reason));
    let said: Vec<String> = hits.chain(failures).collect();
    let (total, threshold) = (score.total, score.threshold);
    match said.is_empty() {
        true => format!("score {total} of {threshold}"),
        false => format!("score {total} of {threshold}: {}", said.join(", ")),
    }
}

/// The first of these fields that there is.
fn fields(names: &[&str], headers: &Headers) -> String {
    let found = names.iter().find_map(|name| headers.first(name));
    match (found, names.first()) {
        (Some(header), _) => shown_field(header),
        (None, Some(name)) => format!("no {name}"),
        (None, None) => String::new(),
    }
}

/// The first field that a list names.
fn listed(list: &[FieldEntry], headers: &Headers) -> String {
    let found = headers
        .iter()
        .find(|header| list.iter().any(|entry| header.is(entry.field)));
    found.map_or_else(|| format!("none of {} patterns", list.len()), shown_field)
}

fn shown_field(header: &Header) -> String {
    shown_of(&format!("{}: {}", header.name(), header.unfolded().trim()))
}

fn shown_of(text: &str) -> String {
    shown_up_to(SHOWN, text)
}

fn shown_up_to(limit: usize, text: &str) -> String {
    let kept: String = text.chars().take(limit).collect();
    let mark = if text.chars().nth(limit).is_some() {
        "…"
    } else {
        ""
    };
    format!("{}{mark}", Printable(&kept))
}
