//! Looks keys up in Postfix's tables, as Postfix's own programs do.

use std::fs;

use super::{
    WiringError,
    list::List,
    postconf::{Postconf, Values},
};

/// The tables of one Postfix, and the parameters that name the tables.
pub(super) struct Maps {
    postconf: Postconf,
    values: Values,
}

/// An entry that was found by one of several keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// The table: `hash:/etc/postfix/virtual`.
    pub(super) map: String,
    /// The key under which it was found.
    pub(super) key: String,
    pub(super) value: String,
}

impl Maps {
    pub(super) fn of(postconf: Postconf) -> Result<Self, WiringError> {
        let values = postconf.values()?;
        Ok(Self { postconf, values })
    }

    pub(super) fn postconf(&self) -> &Postconf {
        &self.postconf
    }

    /// The value of a parameter; empty for one that this Postfix does not know.
    pub(super) fn value(&self, parameter: &str) -> &str {
        self.values.get(parameter).map_or("", String::as_str)
    }

    /// The entry for the first of the keys that any table of the parameter has.
    pub(super) fn find(&self, parameter: &str, keys: &[&str]) -> Result<Option<Hit>, WiringError> {
        let maps = List::parse(self.value(parameter));
        for (number, key) in keys.iter().enumerate() {
            for map in maps.elements().filter(|map| map.contains(':')) {
                // Tables of patterns get only the whole address, which is the first key.
                if number > 0 && is_of_patterns(map) {
                    continue;
                }
                if let Some(value) = self.look_up(map, key)? {
                    return Ok(Some(Hit {
                        map: map.to_owned(),
                        key: (*key).to_owned(),
                        value,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Whether a list of domains contains this one. The list may name files and tables.
    pub(super) fn has_domain(&self, parameter: &str, domain: &str) -> Result<bool, WiringError> {
        let with_subdomains = List::parse(self.value("parent_domain_matches_subdomains"))
            .elements()
            .any(|element| element == parameter);
        let is = |pattern: &str| {
            let pattern = pattern.to_lowercase();
            domain == pattern
                || (with_subdomains && domain.ends_with(&format!(".{pattern}")))
                || (pattern.starts_with('.') && domain.ends_with(&pattern))
        };
        for pattern in List::parse(self.value(parameter)).elements() {
            let found = match pattern {
                file if file.starts_with('/') => {
                    let text = fs::read_to_string(file).unwrap_or_default();
                    text.lines().any(|line| is(line.trim()))
                }
                map if map.contains(':') => self.look_up(map, domain)?.is_some(),
                name => is(name),
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn look_up(&self, map: &str, key: &str) -> Result<Option<String>, WiringError> {
        // postmap reads the table directly: proxymap(8) may not be running.
        let map = map.strip_prefix("proxy:").unwrap_or(map);
        self.postconf.look_up(map, key)
    }
}

/// Whether Postfix looks only whole addresses up in such a table.
fn is_of_patterns(map: &str) -> bool {
    let map = map.strip_prefix("proxy:").unwrap_or(map);
    let kind = map.split(':').next().unwrap_or_default();
    ["regexp", "pcre", "cidr", "tcp"].contains(&kind)
}
