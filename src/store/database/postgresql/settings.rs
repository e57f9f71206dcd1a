//! `[store] postgresql`: the servers, and how to log in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::as_text::as_text;

/// PostgreSQL's port unless a host names another.
const DEFAULT_PORT: u16 = 5432;

/// `[store] postgresql`: a database for several gateways.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PostgresqlSettings {
    /// Servers, or directories of sockets; the one that may be written to is used.
    pub(crate) hosts: Vec<DatabaseHost>,
    /// Name of the database.
    pub(crate) database: String,
    /// Name of the role. On a socket PostgreSQL may know it by the process's user.
    pub(crate) user: String,
    /// File with the password, which only the gateway may read.
    pub(crate) password_file: Option<PathBuf>,
    /// File with the certificates that servers are verified by.
    pub(crate) ca_file: PathBuf,
}

impl Default for PostgresqlSettings {
    fn default() -> Self {
        Self {
            hosts: vec![DatabaseHost::Socket {
                directory: "/run/postgresql".to_owned(),
                port: DEFAULT_PORT,
            }],
            database: "kms-gateway".to_owned(),
            user: "kms-gateway".to_owned(),
            password_file: None,
            ca_file: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
        }
    }
}

impl PostgresqlSettings {
    /// Whether all hosts are sockets of this machine. A connection to one needs no TLS.
    pub(super) fn is_local(&self) -> bool {
        self.hosts
            .iter()
            .all(|host| matches!(host, DatabaseHost::Socket { .. }))
    }

    /// Whether the hosts are of one kind, and there is one. TLS is for all or for none.
    pub(crate) fn are_hosts_alike(&self) -> bool {
        let is_socket = |host: &DatabaseHost| matches!(host, DatabaseHost::Socket { .. });
        !self.hosts.is_empty() && (self.is_local() || !self.hosts.iter().any(is_socket))
    }
}

/// The database as errors and the log name it.
impl fmt::Display for PostgresqlSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        write!(
            f,
            "PostgreSQL database {} at {}",
            self.database,
            hosts.join(", ")
        )
    }
}

/// A PostgreSQL server: `db1.example`, `db1.example:5433`, `[2001:db8::1]:5432`, or the directory
/// of its socket, such as `/run/postgresql`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseHost {
    Socket { directory: String, port: u16 },
    Server { host: String, port: u16 },
}

impl FromStr for DatabaseHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "{text:?} is no host such as \"db1.example\", \"db1.example:5433\" or \
                 \"/run/postgresql\""
            )
        };
        let (host, port) = match text.rsplit_once(':') {
            // Of an IPv6 address in brackets, or without a port.
            Some((_, end)) if end.ends_with(']') => (text, DEFAULT_PORT),
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (text, DEFAULT_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_plain = |letter: char| letter.is_ascii_graphic() && !"[]@?,'\"".contains(letter);
        if host.is_empty() || port == 0 || !host.chars().all(is_plain) {
            return Err(wrong());
        }
        let host = host.to_owned();
        Ok(match host.starts_with('/') {
            true => Self::Socket {
                directory: host,
                port,
            },
            false => Self::Server { host, port },
        })
    }
}

impl fmt::Display for DatabaseHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = match self {
            Self::Socket { directory, port } => (directory.clone(), port),
            Self::Server { host, port } if host.contains(':') => (format!("[{host}]"), port),
            Self::Server { host, port } => (host.clone(), port),
        };
        match *port {
            DEFAULT_PORT => f.write_str(&host),
            port => write!(f, "{host}:{port}"),
        }
    }
}

as_text!(DatabaseHost);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn hosts_are_read_as_people_write_them() {
        for text in [
            "db1.example",
            "db1.example:5433",
            "192.0.2.1",
            "[2001:db8::1]",
            "[2001:db8::1]:5433",
            "/run/postgresql",
            "/run/postgresql:5433",
        ] {
            let host: DatabaseHost = text.parse().unwrap();
            assert_eq!(host.to_string(), text);
        }
        let host: DatabaseHost = "db1.example:5432".parse().unwrap();
        assert_eq!(host.to_string(), "db1.example");
        for text in [
            "",
            ":5432",
            "db1:x",
            "db1:0",
            "db 1",
            "postgresql://db1",
            "a@b",
        ] {
            assert!(text.parse::<DatabaseHost>().is_err(), "{text}");
        }
    }
}
