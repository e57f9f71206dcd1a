//! Changes one key of the configuration file and leaves the rest as its author
//! wrote it, with comments and layout. Knows the syntax of the file. `Config`
//! decides which values are valid.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;
use toml_edit::{Array, DocumentMut, Item, TableLike, Value, value};

use super::{Config, ConfigError};
use crate::new_file;

impl Config {
    /// Writes `values` into the file as the value of the key `section.name`. The
    /// file is replaced as a whole, and only by a valid one. A file with that value
    /// already is left alone. Returns whether the file was changed.
    ///
    /// # Errors
    /// The key is unknown or can't have these values, or the file can't be written.
    pub(crate) fn set(path: &Path, key: &str, values: &[String]) -> Result<bool, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::unreadable(path, &source))?;
        let edited = Self::with(path, &text, key, values)?;
        if edited == text {
            return Ok(false);
        }
        replace(path, edited.as_bytes())
            .map_err(|source| ConfigError::unwritable(path, &source))?;
        Ok(true)
    }

    /// The text of a new file at `path`: `template` with these keys set.
    ///
    /// # Errors
    /// As for [`Config::set`].
    pub(crate) fn written(
        path: &Path,
        template: &str,
        settings: &[(&str, Vec<String>)],
    ) -> Result<String, ConfigError> {
        let mut text = template.to_owned();
        for (key, values) in settings {
            text = Self::with(path, &text, key, values)?;
        }
        Ok(text)
    }

    /// `text` with `values` at a key. It is a valid configuration before and after.
    fn with(path: &Path, text: &str, key: &str, values: &[String]) -> Result<String, ConfigError> {
        let present = Self::parse(path, text)?;
        let held = present
            .value_of(key)
            .filter(|held| !held.is_object() || key.contains('.'))
            .ok_or_else(|| ConfigError::unknown_key(path, key))?;
        let new = read_values(&held, values).map_err(|wanted| {
            ConfigError::value(path, key, "this is no value of its type", wanted)
        })?;
        let edited = edit(text, key, new).ok_or_else(|| {
            ConfigError::value(
                path,
                key,
                "the file writes it in a way that this command can't edit",
                "edit the file by hand",
            )
        })?;
        Self::parse(path, &edited)?;
        Ok(edited)
    }
}

/// The value to write for a key whose present value is `held`. The error says which
/// values the key takes.
fn read_values(held: &Json, values: &[String]) -> Result<Value, &'static str> {
    match (held, values) {
        (Json::Array(_), elements) => {
            let elements: Array = elements.iter().map(|text| element(text)).collect();
            Ok(elements.into())
        }
        (Json::String(_), [text]) => Ok(text.into()),
        (Json::Null, [text]) => Ok(element(text)),
        (Json::Object(_), [text]) => match element(text) {
            table @ Value::InlineTable(_) => Ok(table),
            _ => Err("write a table in braces"),
        },
        (Json::Bool(_), [text]) => text
            .parse::<bool>()
            .map(Value::from)
            .map_err(|_| "write true or false"),
        (Json::Number(_), [text]) => text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| "write a whole number"),
        _ => Err("give one value"),
    }
}

/// A value of no known type: a text, or a table in braces.
fn element(text: &str) -> Value {
    match text.parse::<Value>() {
        Ok(table @ Value::InlineTable(_)) => table,
        _ => text.into(),
    }
}

/// The file's text with another value at the key `section.name`.
fn edit(text: &str, key: &str, mut new: Value) -> Option<String> {
    let (tables, name) = key.rsplit_once('.')?;
    let mut document: DocumentMut = text.parse().ok()?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for part in tables.split('.') {
        table = table
            .entry(part)
            .or_insert_with(|| Item::Table(toml_edit::Table::new()))
            .as_table_like_mut()?;
    }
    match table.get_mut(name).map(Item::as_value_mut) {
        Some(Some(present)) => {
            if present.to_string().trim() == new.to_string().trim() {
                return Some(text.to_owned());
            }
            // A comment on the same line.
            *new.decor_mut() = present.decor().clone();
            *present = new;
        }
        Some(None) => return None,
        None => {
            table.insert(name, value(new));
        }
    }
    Some(document.to_string())
}

/// Replaces the file, or the file that it links to.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    new_file::replace(&path, &beside(&path), content)
}

/// The new file's name has the process id, so that two processes don't share one.
fn beside(path: &Path) -> PathBuf {
    let mut new = path.to_owned().into_os_string();
    new.push(format!(".{}", std::process::id()));
    PathBuf::from(new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn edited(text: &str, key: &str, value: impl Into<Value>) -> String {
        edit(text, key, value.into()).unwrap()
    }

    #[test]
    fn the_rest_of_the_file_stays_as_it_is() {
        let text = "# first\n[milter]   # of Postfix\nkeep_bcc = false # why\n\n# last\n[log]\n";
        assert_eq!(
            edited(text, "milter.keep_bcc", true),
            text.replace("false", "true")
        );
        assert_eq!(
            edited(text, "log.level", "debug"),
            format!("{text}level = \"debug\"\n")
        );
        assert_eq!(
            edited(text, "audit.keep", "10d"),
            format!("{text}\n[audit]\nkeep = \"10d\"\n")
        );
    }

    #[test]
    fn every_way_to_write_a_table_can_be_edited() {
        assert_eq!(
            edited("milter.keep_bcc = false\n", "milter.keep_bcc", true),
            "milter.keep_bcc = true\n"
        );
        assert_eq!(
            edited("milter = { keep_bcc = false }\n", "milter.keep_bcc", true),
            "milter = { keep_bcc = true }\n"
        );
        for text in [
            "[store]\npostgresql = { user = \"a\" } # why\n",
            "[store.postgresql]\nuser = \"a\"\n",
        ] {
            assert_eq!(
                edited(text, "store.postgresql.user", "b"),
                text.replace("\"a\"", "\"b\"")
            );
        }
    }

    #[test]
    fn the_same_value_leaves_the_text_alone() {
        let text = "[log]\nlevel   =  \"info\"\n";
        assert_eq!(edited(text, "log.level", "info"), text);
    }

    #[test]
    fn a_value_is_read_as_the_keys_type() {
        let texts = |values: &[&str]| -> Vec<String> {
            values.iter().map(|text| (*text).to_owned()).collect()
        };
        let read = |held: Json, values: &[&str]| {
            read_values(&held, &texts(values)).map(|value| value.to_string())
        };
        assert_eq!(read(Json::from(true), &["false"]), Ok("false".to_owned()));
        assert_eq!(read(Json::from(1), &["2"]), Ok("2".to_owned()));
        assert_eq!(read(Json::from(""), &["true"]), Ok("\"true\"".to_owned()));
        assert_eq!(read(Json::Null, &["12"]), Ok("\"12\"".to_owned()));
        let (table, braces) = (Json::Object(Default::default()), "{ user = \"a\" }");
        assert_eq!(read(Json::Null, &[braces]), Ok(braces.to_owned()));
        assert_eq!(read(table.clone(), &[braces]), Ok(braces.to_owned()));
        assert_eq!(read(table, &["a"]), Err("write a table in braces"));
        let list = Json::Array(Vec::new());
        assert_eq!(read(list.clone(), &[]), Ok("[]".to_owned()));
        assert_eq!(
            read(list, &["a=b", "{ site = \"c\" }"]),
            Ok("[\"a=b\", { site = \"c\" }]".to_owned())
        );
        assert_eq!(read(Json::from(true), &["yes"]), Err("write true or false"));
        assert_eq!(read(Json::from(1), &["2", "3"]), Err("give one value"));
        assert_eq!(read(Json::from(""), &[]), Err("give one value"));
    }
}
