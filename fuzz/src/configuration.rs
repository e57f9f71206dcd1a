//! The configuration. An error is one line that names the file, and the key or
//! line. A valid configuration stays the same when it is written out and read
//! again.

use std::path::Path;

use kms_gateway::config::{Config, ConfigError};

const FILE: &str = "gateway.toml";

/// Takes the octets as the text of a configuration.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Config::parse(Path::new(FILE), text) {
        Ok(config) => check_config(&config),
        Err(error) => check_error(&error),
    }
}

fn check_config(config: &Config) {
    let values = |config: &Config| serde_json::to_value(config).unwrap();
    let written = toml::to_string(config).unwrap();
    let again = Config::parse(Path::new(FILE), &written).unwrap();
    assert_eq!(values(&again), values(config), "{written}");
    for (table, keys) in values(config).as_object().unwrap() {
        assert_eq!(config.value_of(table).as_ref(), Some(keys));
    }
}

fn check_error(error: &ConfigError) {
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    let place = text.strip_prefix(FILE).unwrap();
    let place = place.strip_prefix(':').unwrap_or_else(|| panic!("{text}"));
    let names_line = place.starts_with(|c: char| c.is_ascii_digit());
    let key = place.trim_start().split(':').next().unwrap_or_default();
    let names_key = !key.is_empty() && !key.contains(' ');
    // A whole table is missing, or the flaw has no place of its own.
    let quotes_key = place.contains('`');
    assert!(names_line || names_key || quotes_key, "{text}");
    assert!(text.contains("; "), "no remedy: {text}");
}
