//! Recognises automatic mail by its fields and its content types.

use crate::mail::{Part, Structure};
use crate::policy::facts::Facts;
use crate::policy::finding::{Finding, Quoted};
use crate::policy::lists::{FieldEntry, REPORTS, ReportEntry, find};
use crate::policy::tokens::words;

/// The first field that an entry of `list` matches.
pub(in crate::policy) fn listed(list: &'static [FieldEntry], facts: &Facts<'_>) -> Option<Finding> {
    let (entry, header) = find(list, facts.headers)?;
    Some(Finding::ignore(format_args!(
        "{} {} ({})",
        entry.field,
        Quoted(&header.unfolded()),
        entry.source
    )))
}

pub(in crate::policy) fn report(facts: &Facts<'_>) -> Option<Finding> {
    let structure = facts.structure;
    std::iter::once(&structure.content_type)
        .chain(structure.parts.iter().map(|part| &part.content_type))
        .find_map(|own| REPORTS.iter().find(|entry| entry.matches(own)))
        .or_else(|| report_by_field(facts))
        .map(|entry| Finding::ignore(format_args!("it has {entry} ({})", entry.source)))
        .or_else(|| only_others(structure))
}

/// Recognises Outlook.com's complaints, journals and digests: they hold messages of
/// others and no text of their own. A person's forwarded message has a part for
/// the text before it, even an empty one. An empty part behind it comes from a
/// delimiter that is never closed.
fn only_others(structure: &Structure<'_>) -> Option<Finding> {
    let (first, others) = structure.parts.split_first()?;
    let is_message = |part: &Part<'_>| part.content_type.is("message", "rfc822");
    let is_so = is_message(first) && others.iter().all(|part| is_message(part) || is_blank(part));
    is_so.then(|| Finding::ignore("it has nothing but other messages (message/rfc822)"))
}

fn is_blank(part: &Part<'_>) -> bool {
    part.content().iter().all(u8::is_ascii_whitespace)
}

/// Looks at each Content-Type field, however broken. A mail reader looks at the
/// first only, and only if it is well-formed.
fn report_by_field(facts: &Facts<'_>) -> Option<&'static ReportEntry> {
    facts.headers.get_all("Content-Type").find_map(|header| {
        let value = header.unfolded();
        let media_type = words(&value).next()?;
        REPORTS.iter().find(|entry| entry.is_named(&media_type))
    })
}
