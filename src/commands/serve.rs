//! `serve`: runs the gateway until a signal ends it.

use std::path::Path;

use clap::Args;

use super::{CommandError, Ending};
use crate::gateway::{self, Ended};

/// Run the gateway: milter and worker.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends on SIGTERM or SIGINT: takes no new session, lets messages on their way
finish, for 20 seconds at most, and stops the worker between two steps. A
second signal ends the wait for messages: Postfix has them and offers them
again. SIGHUP reads the configuration again; messages on their way keep the
rules they began with, and a bad configuration changes nothing. Tells systemd
(Type=notify) when it is ready, reloads and stops, what it does, and, with
WatchdogSec=, that it is well.

Example:
  kms-gateway --config /etc/kms-gateway/gateway.toml serve")]
pub(super) struct Arguments {}

pub(super) async fn run(path: &Path, _: &Arguments) -> Result<Ending, CommandError> {
    Ok(match gateway::run(path).await? {
        Ended::AsAsked => Ending::Done,
        Ended::Failed => Ending::Failed,
    })
}
