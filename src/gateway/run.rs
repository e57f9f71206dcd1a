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
    clock::{Clock, SystemClock},
    config::Config,
};

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A signal asked for the end.
    AsAsked,
    /// By an error, which the log names.
    Failed,
}

/// Runs the gateway of the configuration at `path` until a signal ends it.
///
/// # Errors
/// [`GatewayError`] if neither signals nor the log can be set up. Any later error is
/// logged, and the result is [`Ended::Failed`].
pub async fn run(path: &Path) -> Result<Ended, GatewayError> {
    // Before all that takes time: until here each signal kills.
    let mut signals = Signals::listen()?;
    let log = Log::begin()?;
    let ended = serve(path, &mut signals, &log).await;
    systemd::flush();
    Ok(log.end(ended))
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
    // Who asks once more need not wait for messages: Postfix has them, and
    // offers them again.
    let hurried = async {
        signals.end().await;
        tracing::warn!("asked again to end: no waiting for messages on their way");
    };
    service.end(hurried).await;
    // Up to here systemd is to know that the end is no hanging.
    pulse.abort();
    tracing::info!("stopped");
    asked
}

/// Says for `check` which ports are this gateway's, until it is dropped.
fn say_what_it_holds(config: &Config) -> Option<Serving> {
    Serving::begin(config).unwrap_or_else(|error| {
        tracing::warn!(%error, "check will not know this gateway's ports for its own");
        None
    })
}

/// Reads the configuration in a thread that the end need not wait for: a file may
/// lie where nobody answers.
async fn load(path: &Path) -> Result<Config, GatewayError> {
    let (sender, loaded) = oneshot::channel();
    let path = path.to_owned();
    // Nobody receives it if the end was asked for meanwhile.
    let load = move || drop(sender.send(Config::load(&path)));
    let failed = |error: &dyn std::fmt::Display| {
        GatewayError::other(format_args!("the configuration can't be read: {error}"))
    };
    let named = std::thread::Builder::new().name("configuration".to_owned());
    named.spawn(load).map_err(|error| failed(&error))?;
    Ok(loaded.await.map_err(|error| failed(&error))??)
}

/// Counts from here on, and shows the pages for Prometheus and probes, if the
/// configuration has a port for them. The latter are to be told by what comes back.
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
