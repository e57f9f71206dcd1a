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
mod node;
mod sections;
mod values;

pub use self::error::ConfigError;
pub(crate) use self::log_level::LogLevel;
pub use self::sections::Config;
pub(crate) use self::sections::{Milter, Secrets};
pub(crate) use self::values::{
    GatewayAddress, ListenAddress, LogFormat, NodeName, StsTimeText, StsaPublicKeyText,
};
pub(crate) use crate::time::Period;

#[cfg(test)]
mod tests;
