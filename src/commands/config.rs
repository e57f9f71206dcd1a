//! `config`: prints or sets a key of the configuration file, as postconf(1) does
//! for Postfix. Needs no secret and no database.

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::{
    CommandError,
    standard_output::{write_line, write_lines, write_text},
};
use crate::config::{Config, ConfigError};
use crate::gateway::environment::master_secret_file;

/// The configuration file unless `--config` names another.
pub(super) const DEFAULT_CONFIG: &str = "/etc/kms-gateway/gateway.toml";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Get(Get),
    Set(Set),
}

/// Print the value of a key that is in force: the file's, or the default.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints a list one element a line. Prints nothing for a key that is not set and
has no default. Prints TOML for a table, or without KEY for the whole
configuration.

Examples:
  kms-gateway config get gateway.addresses
  kms-gateway config get")]
pub(super) struct Get {
    /// The key with its table: milter.listen.
    key: Option<String>,
}

/// Set a key in the configuration file; its comments and layout stay.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is replaced as a whole, and only if the new one is valid. A running
gateway takes the change at its next reload (SIGHUP, systemctl reload) or start.

Examples:
  kms-gateway config set milter.keep_bcc true
  kms-gateway config set gateway.addresses gateway@kms.example.org kms@example.org
  kms-gateway config set dnsbl.zones '{ site = \"bl.example\", ipv6 = false }'")]
pub(super) struct Set {
    /// The key with its table: milter.listen.
    key: String,
    /// The value; for a list, its elements.
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    values: Vec<String>,
}

pub(super) fn run(path: &Path, action: Action) -> Result<(), CommandError> {
    match action {
        Action::Get(arguments) => get(path, arguments.key.as_deref()),
        Action::Set(arguments) => set(path, &arguments),
    }
}

fn get(path: &Path, key: Option<&str>) -> Result<(), CommandError> {
    let mut config = Config::load(path)?;
    let secrets = &mut config.secrets;
    if secrets.places() == 0 {
        secrets.master_secret_file = Some(master_secret_file(secrets).to_owned());
    }
    let Some(key) = key else {
        return write_text(as_toml(&config)?);
    };
    match config.value_of(key) {
        None => Err(ConfigError::unknown_key(path, key).into()),
        Some(Json::Null) => Ok(()),
        Some(Json::Array(elements)) => {
            let lines: Result<Vec<String>, _> = elements.iter().map(as_line).collect();
            write_lines(lines?)
        }
        Some(Json::Object(mut keys)) => {
            // Unset keys are left out: TOML has no null.
            keys.retain(|_, value| !value.is_null());
            write_text(as_toml(&keys)?)
        }
        Some(value) => write_line(as_line(&value)?),
    }
}

fn set(path: &Path, arguments: &Set) -> Result<(), CommandError> {
    let key = &arguments.key;
    let done = match Config::set(path, key, &arguments.values)? {
        true => "set",
        false => "has this value already",
    };
    write_line(format_args!("{}: {key} {done}", path.display()))
}

/// A text without its quotes; any other value as one line of TOML.
fn as_line(value: &Json) -> Result<String, CommandError> {
    match value {
        Json::String(text) => Ok(text.clone()),
        other => toml::Value::try_from(other)
            .map(|value| value.to_string())
            .map_err(CommandError::other),
    }
}

fn as_toml(value: &impl serde::Serialize) -> Result<String, CommandError> {
    toml::to_string(value).map_err(CommandError::other)
}
