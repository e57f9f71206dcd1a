//! The PostgreSQL server: found among the hosts, and asked whether it keeps what it commits.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

use super::settings::{DatabaseHost, PostgresqlSettings};
use super::tls;
use crate::store::database::error::DatabaseError;

/// Time for one host to take a connection and to answer on it. One that hangs must not keep the
/// gateway from the next.
const HOST: Duration = Duration::from_secs(5);

/// Time for one address of a host to take a connection.
const ADDRESS: Duration = Duration::from_secs(2);

/// Time after which a server that acknowledges nothing is lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Bytes that a password may have.
const LONGEST_PASSWORD: u64 = 1024;

/// Connects to the first host that may be written to.
pub(super) async fn connect(settings: &PostgresqlSettings) -> Result<Client, DatabaseError> {
    let tls = match settings.is_local() {
        true => None,
        false => Some(tls::connector(settings)?),
    };
    let mut outcome = Err(DatabaseError::no_answer(HOST));
    for host in &settings.hosts {
        let config = config(host, settings)?;
        let connected = timeout(HOST, connect_by(&config, tls.clone())).await;
        outcome = connected.unwrap_or_else(|_| Err(DatabaseError::no_answer(HOST)));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

async fn connect_by(
    config: &Config,
    tls: Option<MakeRustlsConnect>,
) -> Result<Client, DatabaseError> {
    let Some(tls) = tls else {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        return Ok(client);
    };
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn config(host: &DatabaseHost, settings: &PostgresqlSettings) -> Result<Config, DatabaseError> {
    let mut config = Config::new();
    match host {
        DatabaseHost::Socket { directory, port } => config.host_path(directory).port(*port),
        DatabaseHost::Server { host, port } => config.host(host).port(*port),
    };
    config
        .dbname(&settings.database)
        .user(&settings.user)
        .application_name("kms-gateway")
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .connect_timeout(ADDRESS)
        .tcp_user_timeout(UNACKNOWLEDGED)
        .keepalives_idle(UNACKNOWLEDGED)
        .keepalives_interval(HOST)
        .keepalives_retries(2)
        .ssl_mode(match settings.is_local() {
            true => SslMode::Disable,
            false => SslMode::Require,
        });
    if let Some(file) = &settings.password_file {
        config.password(password(file)?.as_bytes());
    }
    Ok(config)
}

/// Reads the password, without the end of its line. Each connection does, so that a new password
/// needs no restart.
fn password(file: &Path) -> Result<Zeroizing<String>, DatabaseError> {
    let refused = |fault: &dyn std::fmt::Display| {
        let path = file.display();
        DatabaseError::Refused(format!(
            "{path}: {fault}; see store.postgresql.password_file"
        ))
    };
    let mode = fs::metadata(file).map_err(|error| refused(&error))?;
    let mode = mode.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(refused(&format_args!(
            "mode {mode:04o} lets others in, chmod 0600 it"
        )));
    }
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_PASSWORD as usize));
    File::open(file)
        .and_then(|file| file.take(LONGEST_PASSWORD).read_to_string(&mut text))
        .map_err(|error| refused(&error))?;
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}
