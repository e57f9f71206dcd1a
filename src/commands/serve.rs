//! `serve`: builds the gateway from its configuration, runs milter and worker,
//! and takes signals.

use std::{path::Path, sync::Arc};

use clap::Args;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tracing_subscriber::EnvFilter;

use super::{
    CommandError, Ending,
    environment::{
        Environment, blocklists, gateway_addresses, installation, policy_settings, throttle,
    },
};
use crate::{
    clock::{Clock, SystemClock},
    config::{Config, LogFormat, Period},
    kms::Kms,
    milter::{self, Gateway, InFlight, MilterSocket, Rules},
    store::Store,
    worker::{Answering, Delivering, InjectionSettings, ReplySettings, Retry, Upkeep, Worker},
};

/// Run the gateway: milter and worker.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends on SIGTERM or SIGINT: takes no new session, lets messages on their way
finish and stops the worker between two steps. SIGHUP reads the
configuration again; messages on their way keep the rules they began with.

Example:
  kms-gateway --config /etc/kms-gateway/gateway.toml serve")]
pub(super) struct Arguments {}

pub(super) async fn run(path: &Path, _: &Arguments) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    start_log(&config)?;
    let environment = Environment::open_checked(path, &config).await?;
    let socket = bind(path, &config).await?;
    let store = environment.store.clone();
    let live = Live::new(&config, environment.into_kms(&config)?)?;
    let (stop, stopped) = watch::channel(false);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    let worker = tokio::spawn(worker(&config, &live, store.clone(), clock.clone()).run(
        config.worker.parallel_requests,
        config.worker.parallel_deliveries,
        stopped.clone(),
    ));
    let upkeep = Upkeep {
        store: store.clone(),
        clock: clock.clone(),
        keep: live.audit_keep.subscribe(),
        replay_marks: replay_marks_kept(&config),
        key_warning: config.kmc.warn_before_expiry,
    };
    let upkeep = tokio::spawn(upkeep.run(stopped.clone()));
    let gateway = Arc::new(Gateway {
        store: store.clone(),
        kms: live.kms.clone(),
        clock,
        rules: live.rules.subscribe(),
        in_flight: InFlight::default(),
    });
    let milter = tokio::spawn(milter::serve(
        gateway,
        socket,
        config.milter.max_connections,
        stopped,
    ));

    tracing::info!(listen = %config.milter.listen, "serving");
    notify(&[NotifyState::Ready]);
    let ended = attend_signals(path, &config, &live, milter, &stop).await;
    notify(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    let _ = stop.send(true);
    ended?;
    worker.await.map_err(CommandError::other)?;
    upkeep.await.map_err(CommandError::other)?;
    store.close().await;
    tracing::info!("stopped");
    Ok(Ending::Done)
}

/// What a reload replaces while the gateway runs.
struct Live {
    kms: Arc<dyn Kms>,
    rules: watch::Sender<Arc<Rules>>,
    answering: watch::Sender<Arc<Answering>>,
    delivering: watch::Sender<Arc<Delivering>>,
    audit_keep: watch::Sender<Period>,
}

impl Live {
    fn new(config: &Config, kms: impl Kms + 'static) -> Result<Self, CommandError> {
        let kms: Arc<dyn Kms> = Arc::new(kms);
        Ok(Self {
            rules: watch::Sender::new(rules(config)?),
            answering: watch::Sender::new(answering(config, kms.clone())),
            delivering: watch::Sender::new(delivering(config)),
            audit_keep: watch::Sender::new(config.audit.keep),
            kms,
        })
    }

    /// All of it or, if the new configuration can't be put to work, nothing.
    fn replace(&self, config: &Config) -> Result<(), CommandError> {
        self.rules.send_replace(rules(config)?);
        self.answering
            .send_replace(answering(config, self.kms.clone()));
        self.delivering.send_replace(delivering(config));
        self.audit_keep.send_replace(config.audit.keep);
        Ok(())
    }
}

fn rules(config: &Config) -> Result<Arc<Rules>, CommandError> {
    Ok(Arc::new(Rules {
        blocklists: blocklists(config)?.map(Arc::new),
        addresses: gateway_addresses(config),
        policy: policy_settings(config),
        throttle: throttle(config),
        reply_reverse_path: config.reply.reverse_path.clone(),
        internal_daemon_name: config.milter.internal_daemon_name.clone(),
        keep_bcc: config.milter.keep_bcc,
    }))
}

fn answering(config: &Config, kms: Arc<dyn Kms>) -> Arc<Answering> {
    Arc::new(Answering {
        kms,
        settings: Arc::new(ReplySettings {
            addresses: gateway_addresses(config),
            max_targets: config.reply.max_targets,
            reverse_path: config.reply.reverse_path.clone(),
            installation: installation(config),
        }),
    })
}

/// How long replay marks are kept: as long as a request may wait that was
/// fresh when it was accepted. Behind that a module's watermark refuses all,
/// and must not refuse a request that only waited. What the length follows
/// from is fixed at start.
fn replay_marks_kept(config: &Config) -> Period {
    const SLACK: Period = Period::from_secs(24 * 3600);
    let freshness = &config.key_load_file;
    let parts = [
        freshness.max_age,
        freshness.max_ahead,
        config.worker.give_up,
        config.throttle.block_for,
        SLACK,
    ];
    parts.into_iter().fold(Period::from_secs(0), Period::plus)
}

fn delivering(config: &Config) -> Arc<Delivering> {
    // The domain of the gateway's own address is a name that Postfix knows.
    let helo_name = config.gateway.addresses.first().map_or_else(
        || "localhost".to_owned(),
        |address| address.0.domain().to_owned(),
    );
    Arc::new(Delivering {
        settings: InjectionSettings {
            server: config.reply.smtp,
            helo_name,
        },
    })
}

fn worker(
    config: &Config,
    live: &Live,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Arc<Worker> {
    Arc::new(Worker {
        store,
        clock,
        answering: live.answering.subscribe(),
        delivering: live.delivering.subscribe(),
        lease: config.worker.lease,
        retry: Retry {
            first: config.worker.first_retry,
            longest: config.worker.longest_retry,
            give_up: config.worker.give_up,
            notice_after: config.worker.notice_after,
        },
    })
}

async fn bind(path: &Path, config: &Config) -> Result<MilterSocket, CommandError> {
    MilterSocket::bind(&config.milter.listen).await.map_err(|error| {
        CommandError::Config(crate::config::ConfigError::value(
            path,
            "milter.listen",
            format_args!("{} can't be bound: {error}", config.milter.listen),
            "name a free address there and in Postfix's smtpd_milters, or end what holds this one",
        ))
    })
}

/// Takes signals until one asks for the end, or the milter ends by itself;
/// then waits for the milter.
async fn attend_signals(
    path: &Path,
    config: &Config,
    live: &Live,
    mut milter: JoinHandle<std::io::Result<()>>,
    stop: &watch::Sender<bool>,
) -> Result<(), CommandError> {
    let listen = |kind| {
        signal(kind).map_err(|error| CommandError::other(format!("can't take signals: {error}")))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(path, config, live),
            ended = &mut milter => return milter_ended(ended),
        }
    }
    stop.send_replace(true);
    milter_ended(milter.await)
}

fn milter_ended(
    ended: Result<std::io::Result<()>, tokio::task::JoinError>,
) -> Result<(), CommandError> {
    ended
        .map_err(CommandError::other)?
        .map_err(|error| CommandError::other(format!("the milter ended: {error}")))
}

/// Reads the configuration again; a bad one changes nothing.
fn reload(path: &Path, started_with: &Config, live: &Live) {
    let replaced = Config::load(path)
        .map_err(CommandError::from)
        .and_then(|config| live.replace(&config).map(|()| config));
    match replaced {
        Ok(config) => {
            for key in fixed_at_start(started_with, &config) {
                tracing::warn!(key, "changed in the file; takes effect at the next start");
            }
            tracing::info!("configuration reloaded");
        }
        Err(error) => {
            tracing::error!(%error, "configuration not reloaded; the old one stays in force")
        }
    }
}

/// The keys whose new values a running gateway can't take.
fn fixed_at_start(old: &Config, new: &Config) -> Vec<&'static str> {
    let same = [
        ("milter.listen", old.milter.listen == new.milter.listen),
        (
            "milter.max_connections",
            old.milter.max_connections == new.milter.max_connections,
        ),
        ("store", old.store == new.store),
        ("secrets", old.secrets == new.secrets),
        ("kmc", old.kmc == new.kmc),
        ("key_load_file", old.key_load_file == new.key_load_file),
        ("worker", old.worker == new.worker),
        ("log", old.log == new.log),
    ];
    same.into_iter()
        .filter(|(_, same)| !same)
        .map(|(key, _)| key)
        .collect()
}

/// Text or JSON on standard error. indymilter's own trace is noise.
fn start_log(config: &Config) -> Result<(), CommandError> {
    let filter = EnvFilter::try_new(format!("{},indymilter=warn,sqlx=warn", config.log.level))
        .map_err(|error| {
            CommandError::other(format!(
                "log.level: {error}; write a level such as \"info\""
            ))
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = match config.log.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| CommandError::other(format!("the log can't be started: {error}")))
}

/// Tells systemd, where it listens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd not notified");
    }
}
