//! The needs of `serve` before it takes mail: ports, database, secrets and name
//! servers. `check` tries them with the same functions.

use std::{io, path::Path};

use tokio::net::TcpListener;

use super::{GatewayError, environment::blocklists, key_management, milter_port, serving};
use crate::{
    config::{Config, ConfigError},
    dnsbl::Blocklists,
    milter::MilterSocket,
};

/// Binds the port of metrics and probes, if the configuration has one.
pub(crate) async fn pages(
    path: &Path,
    config: &Config,
) -> Result<Option<TcpListener>, GatewayError> {
    let Some(listen) = config.metrics.listen else {
        return Ok(None);
    };
    let bound = TcpListener::bind(listen).await;
    bound
        .map(Some)
        .map_err(|error| cannot_be_bound(path, "metrics.listen", listen, &error, "to Prometheus"))
}

/// Binds the milter's port or socket.
pub(crate) async fn milter(path: &Path, config: &Config) -> Result<MilterSocket, GatewayError> {
    let listen = &config.milter.listen;
    MilterSocket::bind(listen).await.map_err(|error| {
        if let (io::ErrorKind::NotFound, Some(missing)) =
            (error.kind(), milter_port::missing_directory(config))
        {
            return ConfigError::value(path, "milter.listen", missing.problem, missing.remedy)
                .into();
        }
        let user = "in Postfix's smtpd_milters";
        cannot_be_bound(path, "milter.listen", listen, &error, user)
    })
}

fn cannot_be_bound(
    path: &Path,
    key: &str,
    listen: impl std::fmt::Display,
    error: &io::Error,
    and_where: &str,
) -> GatewayError {
    let remedy = match error.kind() {
        io::ErrorKind::AddrNotAvailable => "name an address of this machine".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "name a port from 1024 on, or a directory that the gateway's user may write".to_owned()
        }
        _ => format!(
            "name a free address there and {and_where}, or stop the program that holds this one"
        ),
    };
    let problem = format_args!("{listen} can't be bound: {error}");
    ConfigError::value(path, key, problem, remedy).into()
}

/// The result of a rehearsal.
pub(crate) struct Rehearsal {
    /// Database and key management system, if they open.
    pub(crate) opened: Option<key_management::Opened>,
    /// The blocklists, if any are configured and can be asked.
    pub(crate) blocklists: Option<Blocklists>,
    /// The reasons for `serve` to refuse the start.
    pub(crate) problems: Vec<String>,
}

/// Tries each need and frees the ports again. A port that the running gateway of
/// this database holds counts as free.
pub(crate) async fn rehearse(path: &Path, config: &Config) -> Rehearsal {
    let held = serving::held(config);
    let holds_milter = held
        .as_ref()
        .is_some_and(|held| held.milter.is_same_as(&config.milter.listen));
    let holds_pages = held.is_some_and(|held| held.metrics == config.metrics.listen);
    let mut problems = Vec::new();
    if !holds_pages {
        problems.extend(pages(path, config).await.err());
    }
    let opened = key_management::open_checked(path, config).await;
    let opened = kept(opened, &mut problems);
    if !holds_milter {
        problems.extend(milter(path, config).await.err());
    }
    let blocklists = kept(blocklists(&config.dnsbl), &mut problems).flatten();
    Rehearsal {
        opened,
        blocklists,
        problems: problems.iter().map(ToString::to_string).collect(),
    }
}

fn kept<T, E: Into<GatewayError>>(
    tried: Result<T, E>,
    problems: &mut Vec<GatewayError>,
) -> Option<T> {
    tried.map_err(|error| problems.push(error.into())).ok()
}
