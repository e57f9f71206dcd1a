//! What `serve` needs before it takes mail: ports, database, secrets and name
//! servers. `check` tries the same by the same functions.

use std::{io, path::Path, sync::Arc};

use tokio::net::TcpListener;

use super::{CommandError, environment::blocklists, key_management, milter_port, serving};
use crate::{
    config::{Config, ConfigError},
    dnsbl::Blocklists,
    kms::Kms,
    milter::MilterSocket,
    store::Store,
};

/// Binds the port of metrics and probes, if there is to be one.
pub(super) async fn pages(
    path: &Path,
    config: &Config,
) -> Result<Option<TcpListener>, CommandError> {
    let Some(listen) = config.metrics.listen else {
        return Ok(None);
    };
    let bound = TcpListener::bind(listen).await;
    bound
        .map(Some)
        .map_err(|error| cannot_be_bound(path, "metrics.listen", listen, &error, "to Prometheus"))
}

/// Binds the milter's port or socket.
pub(super) async fn milter(path: &Path, config: &Config) -> Result<MilterSocket, CommandError> {
    let listen = &config.milter.listen;
    MilterSocket::bind(listen).await.map_err(|error| {
        if let (io::ErrorKind::NotFound, Some(missing)) =
            (error.kind(), milter_port::missing_directory(config))
        {
            return ConfigError::value(path, "milter.listen", missing.problem, missing.remedy)
                .into();
        }
        let told = "in Postfix's smtpd_milters";
        cannot_be_bound(path, "milter.listen", listen, &error, told)
    })
}

fn cannot_be_bound(
    path: &Path,
    key: &str,
    listen: impl std::fmt::Display,
    error: &io::Error,
    and_where: &str,
) -> CommandError {
    let remedy = match error.kind() {
        io::ErrorKind::AddrNotAvailable => "name an address of this machine".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "name a port from 1024 on, or a directory that the gateway's user may write".to_owned()
        }
        _ => format!("name a free address there and {and_where}, or end what holds this one"),
    };
    let problem = format_args!("{listen} can't be bound: {error}");
    ConfigError::value(path, key, problem, remedy).into()
}

/// What came of a rehearsal.
pub(super) struct Rehearsal {
    /// Database and key management system, where they open.
    pub(super) opened: Option<(Arc<Store>, Arc<dyn Kms>)>,
    /// The block lists, where any are configured and can be asked.
    pub(super) blocklists: Option<Blocklists>,
    /// Each reason for `serve` to refuse.
    pub(super) problems: Vec<String>,
}

/// Tries each of the needs, and gives up what it took. A port that the running
/// gateway of this database holds is as good as free.
pub(super) async fn rehearse(path: &Path, config: &Config) -> Rehearsal {
    let held = serving::held(config);
    let holds_milter = held
        .as_ref()
        .is_some_and(|held| held.milter.is_same_as(&config.milter.listen));
    let holds_pages = held.is_some_and(|held| held.metrics == config.metrics.listen);
    let mut problems = Vec::new();
    if !holds_pages {
        problems.extend(pages(path, config).await.err());
    }
    let opened = key_management::open(path, config).await;
    let opened = kept(opened, &mut problems);
    if !holds_milter {
        problems.extend(milter(path, config).await.err());
    }
    let blocklists = kept(blocklists(config), &mut problems).flatten();
    Rehearsal {
        opened,
        blocklists,
        problems: problems.iter().map(ToString::to_string).collect(),
    }
}

fn kept<T, E: Into<CommandError>>(
    tried: Result<T, E>,
    problems: &mut Vec<CommandError>,
) -> Option<T> {
    tried.map_err(|error| problems.push(error.into())).ok()
}
