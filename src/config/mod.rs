//! The configuration file: the keys that an operator can set, each with its
//! default, and the errors that say which key is wrong and what to write. Knows
//! the types that keys are read into, and does nothing with them.

mod addresses;
mod checks;
mod edit;
mod error;
mod keys;
mod load;
mod log_level;
mod sections;
mod values;

pub use self::error::ConfigError;
pub use self::log_level::LogLevel;
pub use self::sections::{
    Audit, Config, Gateway, Kmc, Log, Metrics, Milter, ModuleUpdate, Reply, Secrets,
    StsaKeySetting, Worker,
};
pub use self::values::{GatewayAddress, ListenAddress, LogFormat, StsTimeText, StsaPublicKeyText};
pub use crate::time::Period;

#[cfg(test)]
mod tests;
