//! Reads a configuration file, and refuses one that can't be meant.

use std::{fs, path::Path};

use super::{Config, ConfigError};

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// The first thing that is wrong: the file, the line, the key, what was
    /// found and what to write instead.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::unreadable(path, &source))?;
        Self::parse(path, &text)
    }

    /// Reads and checks the text of a configuration; `path` is for errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let deserializer = toml::Deserializer::parse(text)
            .map_err(|error| ConfigError::syntax(path, text, &error))?;
        let mut config: Self = serde_path_to_error::deserialize(deserializer)
            .map_err(|error| ConfigError::key(path, text, &error))?;
        config.check().map_err(|problem| problem.of_file(path))?;
        config.name_node();
        Ok(config)
    }
}
