//! PostgreSQL, the engine for several gateways: its servers, and connections to the writable one.

mod connection;
pub(super) mod durability;
mod prepared;
pub(super) mod schema;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use self::connection::{Begun, PostgresqlConnection};
pub(crate) use self::settings::PostgresqlSettings;
