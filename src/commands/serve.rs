//! `serve`: runs the gateway until a signal ends it.

use std::path::Path;

use clap::Args;

use super::{CommandError, Ending};
use crate::gateway::{self, Ended};

/// Run the gateway: milter and worker.
#[derive(Debug, Args)]
#[command(after_help = "\
SIGTERM or SIGINT stops the gateway. It takes no new session, lets messages on
their way finish for at most 20 seconds, and stops the worker between two steps.
A second signal ends the wait for messages: Postfix delivers them again later.

SIGHUP reads the configuration again. Messages on their way keep the rules they
began with. A bad configuration changes nothing.

The gateway notifies systemd (Type=notify) when it is ready, reloads or stops,
and reports a status. With WatchdogSec= it also reports that it is well.

Example:
  kms-gateway --config /etc/kms-gateway/gateway.toml serve")]
pub(super) struct Arguments {}

pub(super) async fn run(path: &Path, _: &Arguments) -> Result<Ending, CommandError> {
    Ok(match gateway::run(path).await? {
        Ended::AsAsked => Ending::Done,
        Ended::Failed => Ending::Failed,
    })
}
