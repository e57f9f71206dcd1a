//! The whole process of `serve`: log, pages, service, signals, and the end.

use std::{path::Path, sync::Arc};

use sd_notify::NotifyState;
use tokio::sync::{oneshot, watch};

use super::{
    GatewayError,
    health::{Health, Phase, Vitals},
    key_management,
    log::Log,
    metrics::Metrics,
    pages::Pages,
    service::Service,
    serving::Serving,
    signals::Signals,
    start,
    systemd::{self, notify},
};
use crate::{
    config::Config,
    time::{Clock, SystemClock},
};

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A signal asked for the end.
    AsAsked,
    /// An error ended it, which the log names.
    Failed,
}

/// Runs the gateway of the configuration at `path` until a signal ends it.
///
/// # Errors
/// [`GatewayError`] if neither signals nor the log can be set up. Any later error is
/// logged, and the result is [`Ended::Failed`].
pub(crate) async fn run(path: &Path) -> Result<Ended, GatewayError> {
    // Comes before everything slow: until here a signal kills the process.
    let mut signals = Signals::listen()?;
    let log = Log::begin()?;
    let ended = serve(path, &mut signals, &log).await;
    systemd::flush();
    log.end(ended.as_ref().err());
    Ok(match ended {
        Ok(()) => Ended::AsAsked,
        Err(_) => Ended::Failed,
    })
}

async fn serve(path: &Path, signals: &mut Signals, log: &Log) -> Result<(), GatewayError> {
    let config = tokio::select! {
        config = load(path) => config?,
        () = signals.end() => return Ok(()),
    };
    log.configure(&config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let _serving = say_what_it_holds(&config);
    let phase = watch::Sender::new(Phase::Starting);
    let vitals = show_pages(path, &config, &clock, phase.subscribe(), log).await?;
    let mut service = tokio::select! {
        service = Service::of(path, config, clock) => service?,
        () = signals.end() => return Ok(()),
    };
    let pulse = tokio::spawn(service.pulse(vitals, log.clone()).run());
    phase.send_replace(Phase::Serving);

    let kms = key_management::description(service.config());
    tracing::info!(listen = %service.config().milter.listen, kms, "serving");
    notify(&[NotifyState::Ready, NotifyState::Status("Serving.")]);
    let asked = service.attend(signals).await;
    if let Err(error) = &asked {
        tracing::error!(%error, "can't go on");
    }
    phase.send_replace(Phase::Stopping);
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("Stopping: messages on their way are finished."),
    ]);
    tracing::info!("stopping");
    // Nothing more may be put into a damaged database. A second signal ends the wait for
    // messages too: Postfix has them and delivers them again.
    let hurried = async {
        if !asked.as_ref().is_err_and(GatewayError::is_damage) {
            signals.end().await;
            tracing::warn!("second signal: stopping without waiting for messages on their way");
        }
    };
    service.end(hurried).await;
    // The pulse beats until here, so that systemd does not take the end for a hang.
    pulse.abort();
    tracing::info!("stopped");
    asked
}

/// Records for `check` which ports this gateway holds. Dropping it ends the record.
fn say_what_it_holds(config: &Config) -> Option<Serving> {
    Serving::begin(config).unwrap_or_else(|error| {
        tracing::warn!(%error, "check will report this gateway's ports as in use");
        None
    })
}

/// Reads the configuration in a thread of its own. A file on a dead network mount
/// then does not delay the end.
async fn load(path: &Path) -> Result<Config, GatewayError> {
    let (sender, loaded) = oneshot::channel();
    let path = path.to_owned();
    // The receiver is gone if a signal came meanwhile.
    let load = move || drop(sender.send(Config::load(&path)));
    let failed = |error: &dyn std::fmt::Display| {
        GatewayError::other(format_args!("the configuration can't be read: {error}"))
    };
    let named = std::thread::Builder::new().name("configuration".to_owned());
    named.spawn(load).map_err(|error| failed(&error))?;
    Ok(loaded.await.map_err(|error| failed(&error))??)
}

/// Starts to count, and serves the pages for Prometheus and probes, if the
/// configuration has a port for them. Returns the channel that feeds the probes.
async fn show_pages(
    path: &Path,
    config: &Config,
    clock: &Arc<dyn Clock>,
    phase: watch::Receiver<Phase>,
    log: &Log,
) -> Result<Option<watch::Sender<Vitals>>, GatewayError> {
    let Some(listener) = start::pages(path, config).await? else {
        return Ok(None);
    };
    let metrics = Metrics::install(config, clock, log.clone())?;
    tokio::spawn(metrics.clone().upkeep());
    let vitals = watch::Sender::new(Vitals::unknown());
    let health = Health {
        phase,
        vitals: vitals.subscribe(),
    };
    tokio::spawn(Pages { metrics, health }.serve(listener));
    Ok(Some(vitals))
}
