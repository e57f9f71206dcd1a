//! What a PostgreSQL server must be set to, so that it keeps what it has committed.

use super::connection::PostgresqlConnection;
use crate::store::database::error::DatabaseError;

/// The oldest version that the statements are written for.
const OLDEST: i64 = 13;

/// Refuses a server that may lose what it has committed, or is too old.
pub(crate) fn require(connection: &mut PostgresqlConnection) -> Result<(), DatabaseError> {
    let rows = connection.run(
        "SELECT current_setting('server_version_num') AS version,
             current_setting('server_version') AS name, current_setting('fsync') AS fsync,
             current_setting('full_page_writes') AS full_page_writes,
             current_setting('synchronous_commit') AS synchronous_commit,
             current_setting('server_encoding') AS encoding",
    )?;
    let row = rows
        .first()
        .ok_or_else(|| DatabaseError::content("the server says nothing of its settings"))?;
    let version: i64 = row.text("version")?;
    if version / 10_000 < OLDEST {
        let name: String = row.get("name")?;
        return Err(DatabaseError::Refused(format!(
            "PostgreSQL {name} is too old: use version {OLDEST} or later"
        )));
    }
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        if row.get::<String>(setting)? == "off" {
            return Err(DatabaseError::Refused(format!(
                "{setting} is off there, so that accepted requests could be lost: switch it on"
            )));
        }
    }
    match row.get::<String>("encoding")?.as_str() {
        "UTF8" => Ok(()),
        other => Err(DatabaseError::Refused(format!(
            "the encoding of the database is {other}: make it with ENCODING 'UTF8'"
        ))),
    }
}
