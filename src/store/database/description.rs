//! Says in words which database a store has.

use super::connection::Connection;
use super::error::{DatabaseError, StoreError};
use super::migrations::version;
use super::store::Store;

impl Store {
    /// The engine with its version, how it is reached, and the version of the schema.
    pub(crate) async fn description(&self) -> Result<String, StoreError> {
        self.read(describe).await
    }
}

fn describe(connection: &mut Connection) -> Result<String, DatabaseError> {
    let (schema, _) = version(connection)?;
    let engine = match connection {
        Connection::Sqlite(_) => {
            let version: String = connection.scalar("SELECT sqlite_version()", &[])?;
            format!("SQLite {version}")
        }
        Connection::Postgresql(_) => server(connection)?,
    };
    Ok(format!("{engine}, schema version {schema}"))
}

fn server(connection: &mut Connection) -> Result<String, DatabaseError> {
    let row = connection.one(
        "SELECT current_setting('server_version') AS version,
             host(inet_server_addr()) || ' port ' || inet_server_port() AS address",
        &[],
    )?;
    let version: String = row.get("version")?;
    // Debian's version stands behind it.
    let version = version.split(' ').next().unwrap_or_default();
    let address: Option<String> = row.get("address")?;
    Ok(match address {
        Some(address) => format!("PostgreSQL {version}, by TLS from {address}"),
        None => format!("PostgreSQL {version}, at a socket of this machine"),
    })
}
