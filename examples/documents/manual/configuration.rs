//! gateway.toml(5): every key with its default and its explanation, as the
//! comments of the example configuration have them.

use clap_mangen::roff::{Inline, bold, italic, roman};

use super::page::Page;

/// The example, which has every key.
const EXAMPLE: &str = include_str!("../../../postfix/gateway.toml");

pub(super) fn page() -> Page {
    let configuration = Configuration::read(EXAMPLE);
    let mut page = Page::new(
        "gateway.toml",
        "5",
        "configuration of the KMS e-mail gateway",
    );
    page.heading("DESCRIPTION");
    page.prose(&configuration.introduction);
    for table in &configuration.tables {
        page.heading(&format!("[{}]", table.name));
        for entry in &table.entries {
            page.item(entry.keys.iter().map(Key::head), &entry.explanation);
        }
    }
    page.heading("SEE ALSO");
    page.prose("`kms-gateway`(1), `kms-gateway-policy`(7)");
    page
}

/// The example configuration, as people read it.
struct Configuration {
    /// What stands before the first table.
    introduction: String,
    /// The tables in order.
    tables: Vec<Table>,
}

/// A table of keys.
struct Table {
    /// As in its heading.
    name: String,
    /// Its keys with their explanations.
    entries: Vec<Entry>,
}

/// Keys that one comment explains.
#[derive(Default)]
struct Entry {
    /// The keys.
    keys: Vec<Key>,
    /// The comment above them.
    explanation: String,
}

/// A key.
struct Key {
    /// Its name within its table.
    name: String,
    /// What it is set to.
    value: String,
    /// Whether that is its default, and not an example for a key that has none.
    is_default: bool,
}

impl Key {
    fn head(&self) -> Vec<Inline> {
        let value = italic(self.value.clone());
        match self.is_default {
            true => vec![bold(self.name.clone()), roman(" = "), value],
            false => vec![
                bold(self.name.clone()),
                roman(" (not set; for example "),
                value,
                roman(")"),
            ],
        }
    }
}

impl Configuration {
    /// Reads the example. A key that is commented out is one without a default.
    fn read(text: &str) -> Self {
        let mut introduction = String::new();
        let mut tables: Vec<Table> = Vec::new();
        for line in text.lines() {
            let name = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            match (name, tables.last_mut()) {
                (Some(name), _) => tables.push(Table {
                    name: name.to_owned(),
                    entries: Vec::new(),
                }),
                (None, Some(table)) => table.read(line),
                (None, None) => push_line(&mut introduction, comment(line).unwrap_or_default()),
            }
        }
        Self {
            introduction,
            tables,
        }
    }
}

impl Table {
    fn read(&mut self, line: &str) {
        match (key(line), comment(line)) {
            (Some(key), _) => match self.entries.last_mut() {
                Some(entry) => entry.keys.push(key),
                None => self.entries.push(Entry {
                    keys: vec![key],
                    explanation: String::new(),
                }),
            },
            (None, Some(text)) => {
                let explained = |entry: &Entry| !entry.keys.is_empty();
                if self.entries.last().is_none_or(explained) {
                    self.entries.push(Entry::default());
                }
                if let Some(entry) = self.entries.last_mut() {
                    push_line(&mut entry.explanation, text);
                }
            }
            (None, None) => {}
        }
    }
}

/// `name = value`, commented out or not.
fn key(line: &str) -> Option<Key> {
    let (name, value) = comment(line).unwrap_or(line).split_once(" = ")?;
    let is_name = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_name.then(|| Key {
        name: name.to_owned(),
        value: value.to_owned(),
        is_default: comment(line).is_none(),
    })
}

fn comment(line: &str) -> Option<&str> {
    let text = line.strip_prefix('#')?;
    Some(text.strip_prefix(' ').unwrap_or(text))
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
