//! The keys of gateway.toml that follow from Postfix's configuration.

use crate::config::Config;

/// The keys of gateway.toml that the installer sets.
pub(super) const GATEWAY_KEYS: [&str; 2] = ["milter.keep_bcc", "gateway.recipient_delimiter"];

/// The value of one of [`GATEWAY_KEYS`], as `config get` prints it.
pub(super) fn gateway_value(config: &Config, key: &str) -> String {
    match key {
        "milter.keep_bcc" => config.milter.keep_bcc.to_string(),
        _ => config.gateway.recipient_delimiter.clone(),
    }
}
