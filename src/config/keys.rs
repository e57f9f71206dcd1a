//! Settings by their keys, such as `milter.listen`: the value that a
//! configuration has for a key, written in the file or not.

use serde_json::Value as Json;

use super::Config;

impl Config {
    /// The value of a key, or the object of a whole section; null for a key that
    /// has no value. None if there is no such key.
    pub fn value_of(&self, key: &str) -> Option<Json> {
        let all = serde_json::to_value(self).ok()?;
        let mut parts = key.split('.');
        parts.try_fold(all, |mut section, part| {
            section.get_mut(part).map(Json::take)
        })
    }

    /// The value of a key as text in one line: the items of a list with blanks
    /// between them, and `none` for an empty list. Block lists have their public
    /// names. Empty if there is no such key.
    pub(crate) fn text_of(&self, key: &str) -> String {
        match (key, self.value_of(key)) {
            ("dnsbl.zones", _) => listed(self.dnsbl.zones.iter().map(|zone| &zone.site)),
            (_, Some(Json::Array(items))) => listed(items.iter().map(text)),
            (_, Some(value)) => text(&value),
            (_, None) => String::new(),
        }
    }

    /// Whether a list has items, or a key that may have no value has one.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        match self.value_of(key) {
            Some(Json::Array(items)) => !items.is_empty(),
            value => value.is_some_and(|value| !value.is_null()),
        }
    }
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn listed(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(" "),
    }
}
