//! An entry for a header field, and the comparison of its value.

use std::borrow::Cow;

use crate::mail::{Header, Headers};
use crate::policy::mailbox::mailboxes;
use crate::policy::tokens::{tokens, words};

use super::sender::{Role, role_of};

/// A header field by which automatic mail is recognised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldEntry {
    /// The name of the field, in any case.
    pub(crate) field: &'static str,
    /// The value that matches.
    pub(crate) value: Value,
    /// The program that writes the field, or the document that defines it.
    pub(crate) source: &'static str,
}

/// The comparison of a field's value by its RFC 5322 words, without comments and in
/// any case. A field without a value matches only [`Value::Present`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// Any value or none: some programs write the name alone.
    Present,
    /// Any word.
    Any,
    /// Any word but a denial: `no`, `false`, `0` and the like.
    NotDenied,
    /// Any first word but this.
    OtherThan(&'static str),
    /// This word, alone or among others.
    Word(&'static str),
    /// These words and no others.
    Exactly(&'static [&'static str]),
    /// These words first, perhaps others behind them.
    Begins(&'static [&'static str]),
    /// A first word that starts with this and goes on: an identifier with a program's
    /// name before a number.
    FirstStarts(&'static str),
    /// An address with the form of this role.
    Address(Role),
}

/// A row of a list.
pub(super) const fn entry(field: &'static str, value: Value, source: &'static str) -> FieldEntry {
    FieldEntry {
        field,
        value,
        source,
    }
}

/// A row for a field that only automatic mail has, with any value.
pub(super) const fn any(field: &'static str, source: &'static str) -> FieldEntry {
    entry(field, Value::Any, source)
}

/// A row for a field with this word in it.
pub(super) const fn word(
    field: &'static str,
    word: &'static str,
    source: &'static str,
) -> FieldEntry {
    entry(field, Value::Word(word), source)
}

/// Words that say a field means the opposite of its name.
const DENIALS: [&str; 6] = ["no", "false", "0", "none", "never", "off"];

impl FieldEntry {
    /// Whether the entry matches this field.
    pub(crate) fn matches(&self, header: &Header) -> bool {
        header.is(self.field) && self.value.matches(&header.unfolded())
    }
}

impl Value {
    fn matches(self, value: &str) -> bool {
        let says_something = tokens(value).next().is_some();
        match self {
            Value::Present => true,
            _ if !says_something => false,
            Value::Any => true,
            Value::NotDenied => !DENIALS.iter().any(|denial| first_is(value, denial)),
            Value::OtherThan(word) => !first_is(value, word),
            Value::Word(word) => words(value).any(|own| own.eq_ignore_ascii_case(word)),
            Value::Exactly(expected) => {
                begins(value, expected) && words(value).nth(expected.len()).is_none()
            }
            Value::Begins(expected) => begins(value, expected),
            Value::FirstStarts(start) => first_starts(value, start),
            Value::Address(role) => mailboxes(value)
                .iter()
                .any(|mailbox| role_of(&mailbox.local).is_some_and(|found| found.role == role)),
        }
    }
}

fn first_is(value: &str, word: &str) -> bool {
    words(value)
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case(word))
}

fn first_starts(value: &str, start: &str) -> bool {
    words(value).next().is_some_and(|first| {
        first.len() > start.len()
            && first
                .get(..start.len())
                .is_some_and(|own| own.eq_ignore_ascii_case(start))
    })
}

fn begins(value: &str, expected: &[&str]) -> bool {
    let mut own = words(value);
    expected.iter().all(|word| {
        own.next()
            .is_some_and(|own: Cow<'_, str>| own.eq_ignore_ascii_case(word))
    })
}

/// The first field that an entry of `list` matches. All fields of a name count.
pub(in crate::policy) fn find<'h>(
    list: &'static [FieldEntry],
    headers: &'h Headers,
) -> Option<(&'static FieldEntry, &'h Header)> {
    headers.iter().find_map(|header| {
        let entry = list.iter().find(|entry| entry.matches(header))?;
        Some((entry, header))
    })
}
