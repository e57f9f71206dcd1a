//! `serve`: builds the gateway from its configuration, runs milter and worker,
//! and takes signals.

mod health;
mod line_queue;
mod log;
mod metrics;
mod pages;
mod pulse;
mod restart;
mod systemd;
mod tasks;

use std::{
    convert::Infallible,
    future::{Future, pending},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use futures_util::FutureExt;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{oneshot, watch},
    time::Instant,
};

use self::{
    health::{Health, Phase, Vitals},
    log::Log,
    metrics::Metrics,
    pages::Pages,
    pulse::Pulse,
    restart::keep_fixed,
    systemd::notify,
    tasks::{Tasks, in_time},
};
use super::{
    CommandError, Ending,
    clock::watched,
    environment::{dnsbl_settings, gateway_addresses, policy_settings, throttle},
    installation::installation,
    key_management,
    memory_limit::message_memory,
    milter_port,
    serving::Serving,
    start,
};
use crate::{
    clock::{Clock, SystemClock, WatchedClock},
    config::{Config, Period},
    dnsbl::{self, Blocklists},
    kms::{AlteredRows, Kms},
    measures::{RELOAD_IS_GOOD, RELOADS, Reloaded},
    milter::{self, Connections, Gateway, InFlight, Memory, MilterSocket, Rules},
    store::Store,
    worker::{Answering, Delivering, InjectionSettings, ReplySettings, Retry, Upkeep, Worker},
};

/// How long the end may take: the drain of the milter's, and what a step of the
/// worker may need. systemd waits for 90 s.
const END_TIME: Duration = Duration::from_secs(30);

/// How long the store may take to finish what waits for it.
const CLOSING_TIME: Duration = Duration::from_secs(5);

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
    // Before all that takes time: until here each signal kills.
    let mut signals = Signals::listen()?;
    let log = Log::begin()?;
    let ended = serve(path, &mut signals, &log).await;
    systemd::flush();
    Ok(log.end(ended))
}

async fn serve(path: &Path, signals: &mut Signals, log: &Log) -> Result<Ending, CommandError> {
    let config = tokio::select! {
        config = load(path) => config?,
        () = signals.end() => return Ok(Ending::Done),
    };
    log.configure(&config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let _serving = say_what_it_holds(&config);
    let phase = watch::Sender::new(Phase::Starting);
    let vitals = show_pages(path, &config, &clock, phase.subscribe(), log).await?;
    let mut service = tokio::select! {
        service = Service::of(path, config, clock) => service?,
        () = signals.end() => return Ok(Ending::Done),
    };
    let pulse = tokio::spawn(service.pulse(vitals, log.clone()).run());
    phase.send_replace(Phase::Serving);

    let kms = key_management::description(&service.config);
    tracing::info!(listen = %service.config.milter.listen, kms, "serving");
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
    asked.map(|()| Ending::Done)
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
async fn load(path: &Path) -> Result<Config, CommandError> {
    let (sender, loaded) = oneshot::channel();
    let path = path.to_owned();
    // Nobody receives it if the end was asked for meanwhile.
    let load = move || drop(sender.send(Config::load(&path)));
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::other(format_args!("the configuration can't be read: {error}"))
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
) -> Result<Option<watch::Sender<Vitals>>, CommandError> {
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

/// The running gateway: milter, worker and upkeep on one store.
pub struct Service {
    path: PathBuf,
    config: Config,
    clock: Arc<WatchedClock>,
    store: Arc<Store>,
    live: Live,
    connections: Arc<Connections>,
    memory: Arc<Memory>,
    /// The sealed rows that somebody altered, as upkeep sees them.
    altered_rows: watch::Sender<AlteredRows>,
    tasks: Tasks,
    stop: watch::Sender<bool>,
    hurry: watch::Sender<bool>,
}

impl Service {
    /// Starts the gateway of the configuration at `path`, by this clock.
    ///
    /// # Errors
    /// Any [`CommandError`] that `serve` may end with at its start.
    pub async fn start(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, CommandError> {
        Self::of(path, Config::load(path)?, clock).await
    }

    /// Waits until a task ends by itself, which none may, and says which and why:
    /// the gateway is no gateway without it.
    pub async fn failure(&mut self) -> CommandError {
        let Some(ended) = self.tasks.next_to_end().await else {
            return CommandError::other("nothing runs");
        };
        let why = ended.result.err();
        CommandError::other(format_args!(
            "the {} ended by itself, which is a fault of the gateway: {}; start it again",
            ended.name,
            why.as_deref().unwrap_or("it gave no reason"),
        ))
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.end(pending()).await;
    }

    async fn of(path: &Path, config: Config, clock: Arc<dyn Clock>) -> Result<Self, CommandError> {
        let (store, kms) = key_management::open(path, &config).await?;
        if let Some(left_behind) = key_management::keys_left_behind(&config, &store).await? {
            tracing::warn!("{left_behind}");
        }
        let clock = watched(clock, &store).await?;
        for warning in milter_port::warnings(&config) {
            tracing::warn!("{warning}");
        }
        let socket = start::milter(path, &config).await?;
        let live = Live::new(&config, kms)?;
        let memory = message_memory(&config);
        if (memory as u64) < config.milter.max_memory {
            tracing::info!(
                bytes = memory,
                "messages get less memory than milter.max_memory, by the limit of the control group"
            );
        }
        let mut service = Self {
            path: path.to_owned(),
            connections: Arc::new(Connections::new(config.milter.max_connections)),
            memory: Memory::new(memory),
            config,
            clock,
            store,
            live,
            altered_rows: watch::Sender::new(AlteredRows::default()),
            tasks: Tasks::default(),
            stop: watch::Sender::new(false),
            hurry: watch::Sender::new(false),
        };
        service.start_tasks(socket);
        Ok(service)
    }

    fn start_tasks(&mut self, socket: MilterSocket) {
        let (config, live, clock) = (&self.config, &self.live, &self.clock);
        let store: Arc<Store> = self.store.clone();
        let worker = worker(config, live, store.clone(), clock.clone()).run(
            config.worker.parallel_requests,
            config.worker.parallel_deliveries,
            self.stop.subscribe(),
        );
        let upkeep = Upkeep {
            store: store.clone(),
            kms: live.kms.clone(),
            altered_rows: self.altered_rows.clone(),
            clock: clock.clone(),
            keep: live.audit_keep.subscribe(),
            replay_marks: replay_marks_kept(config),
            key_warning: key_management::key_warning(config),
            is_measured: config.metrics.listen.is_some(),
        };
        let upkeep = upkeep.run(self.stop.subscribe());
        let gateway = Arc::new(Gateway {
            store,
            kms: live.kms.clone(),
            clock: clock.clone(),
            rules: live.rules.subscribe(),
            in_flight: InFlight::default(),
            memory: self.memory.clone(),
        });
        let milter = milter::serve(
            gateway,
            socket,
            self.connections.clone(),
            self.stop.subscribe(),
            self.hurry.subscribe(),
        );
        self.tasks.start("worker", worker);
        self.tasks.start("upkeep", upkeep.map(Ok::<(), Infallible>));
        self.tasks.start("milter", milter.map(Ok::<(), Infallible>));
    }

    fn pulse(&self, vitals: Option<watch::Sender<Vitals>>, log: Log) -> Pulse {
        Pulse {
            store: self.store.clone(),
            clock: self.clock.clone(),
            delivering: self.live.delivering.subscribe(),
            bad_reload: self.live.bad_reload.subscribe(),
            connections: self.connections.clone(),
            altered_rows: self.altered_rows.subscribe(),
            log,
            memory: self.memory.clone(),
            vitals,
        }
    }

    /// Takes signals until one asks for the end.
    ///
    /// # Errors
    /// A task ended before.
    async fn attend(&mut self, signals: &mut Signals) -> Result<(), CommandError> {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.hangup.recv() => reload(&self.path, &self.config, &self.live),
                failure = self.failure() => return Err(failure),
            }
        }
    }

    /// Has all tasks end, and takes no longer than [`END_TIME`] over it. Messages
    /// on their way are not waited for once `hurried` is done.
    async fn end(mut self, hurried: impl Future<Output = ()>) {
        self.stop.send_replace(true);
        let deadline = Instant::now() + END_TIME;
        let hurried = async {
            hurried.await;
            self.hurry.send_replace(true);
            pending().await
        };
        let left = tokio::select! {
            left = self.tasks.all_end(deadline) => left,
            left = hurried => left,
        };
        if !left.is_empty() {
            tracing::warn!(
                ?left,
                "still at work; what they had begun is done again after the next start"
            );
        }
        if !in_time(CLOSING_TIME, self.store.close()).await {
            tracing::error!("the store does not close; what is committed is safe");
        }
    }
}

/// What a reload replaces while the gateway runs.
struct Live {
    kms: Arc<dyn Kms>,
    rules: watch::Sender<Arc<Rules>>,
    answering: watch::Sender<Arc<Answering>>,
    delivering: watch::Sender<Arc<Delivering>>,
    audit_keep: watch::Sender<Period>,
    /// What is wrong with the newest configuration, if anything.
    bad_reload: watch::Sender<Option<String>>,
}

impl Live {
    fn new(config: &Config, kms: Arc<dyn Kms>) -> Result<Self, CommandError> {
        let new = Reloadable::new(config);
        Ok(Self {
            rules: watch::Sender::new(asking(new.rules, new.dnsbl)?),
            answering: watch::Sender::new(answering(new.reply, kms.clone())),
            delivering: watch::Sender::new(delivering(new.injection)),
            audit_keep: watch::Sender::new(new.audit_keep),
            bad_reload: watch::Sender::new(None),
            kms,
        })
    }

    /// All of it or, if the new configuration can't be put to work, nothing.
    fn replace(&self, config: &Config) -> Result<(), CommandError> {
        let new = Reloadable::new(config);
        self.rules.send_replace(asking(new.rules, new.dnsbl)?);
        self.answering
            .send_replace(answering(new.reply, self.kms.clone()));
        self.delivering.send_replace(delivering(new.injection));
        self.audit_keep.send_replace(new.audit_keep);
        Ok(())
    }
}

/// All that a reload replaces, as settings alone.
#[derive(Debug)]
struct Reloadable {
    /// Without its blocklists.
    rules: Rules,
    dnsbl: Option<dnsbl::Settings>,
    reply: ReplySettings,
    injection: InjectionSettings,
    audit_keep: Period,
}

impl Reloadable {
    fn new(config: &Config) -> Self {
        Self {
            rules: Rules {
                blocklists: None,
                addresses: gateway_addresses(config),
                policy: policy_settings(config),
                throttle: throttle(config),
                reply_reverse_path: config.reply.reverse_path.clone(),
                max_stranger_subject: config.reply.max_stranger_subject,
                internal_daemon_name: config.milter.internal_daemon_name.clone(),
                keep_bcc: config.milter.keep_bcc,
            },
            dnsbl: dnsbl_settings(config),
            reply: ReplySettings {
                max_stranger_subject: config.reply.max_stranger_subject,
                reverse_path: config.reply.reverse_path.clone(),
                installation: installation(config),
            },
            injection: InjectionSettings {
                server: config.reply.smtp,
                helo_name: helo_name(config),
            },
            audit_keep: config.audit.keep,
        }
    }
}

/// The domain of the gateway's own address is a name that Postfix knows.
fn helo_name(config: &Config) -> String {
    config.gateway.addresses.first().map_or_else(
        || "localhost".to_owned(),
        |address| address.0.domain().to_owned(),
    )
}

/// The rules with the blocklists that they ask.
fn asking(rules: Rules, dnsbl: Option<dnsbl::Settings>) -> Result<Arc<Rules>, CommandError> {
    let blocklists = dnsbl.map(Blocklists::new).transpose()?;
    for warning in blocklists.iter().flat_map(Blocklists::warnings) {
        tracing::warn!("{warning}");
    }
    Ok(Arc::new(Rules {
        blocklists: blocklists.map(Arc::new),
        ..rules
    }))
}

fn answering(settings: ReplySettings, kms: Arc<dyn Kms>) -> Arc<Answering> {
    let settings = Arc::new(settings);
    Arc::new(Answering { kms, settings })
}

/// How long replay marks are kept: as long as a request may wait that was
/// fresh when it was accepted. Behind that a module's watermark refuses all,
/// and must not refuse a request that only waited. Fixed at start, as what it
/// follows from is, but for `throttle.block_for`: a day of slack is for that.
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

fn delivering(settings: InjectionSettings) -> Arc<Delivering> {
    Arc::new(Delivering { settings })
}

fn worker(
    config: &Config,
    live: &Live,
    store: Arc<Store>,
    clock: Arc<WatchedClock>,
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

/// The signals that are heeded.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on none of them kills.
    fn listen() -> Result<Self, CommandError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| CommandError::other(format!("can't take signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits until somebody asks for the end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reads the configuration again; a bad one changes nothing.
fn reload(path: &Path, running: &Config, live: &Live) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no monotonic time for systemd"),
    }
    let replaced = Config::load(path)
        .map_err(CommandError::from)
        .and_then(|mut config| {
            let fixed = keep_fixed(running, &mut config);
            live.replace(&config).map(|()| fixed)
        });
    let bad = replaced.as_ref().err().map(ToString::to_string);
    let outcome = match bad {
        None => Reloaded::Good,
        Some(_) => Reloaded::Bad,
    };
    RELOADS.at(outcome).increment(1);
    RELOAD_IS_GOOD.only().set(u8::from(bad.is_none()));
    match replaced {
        Ok(fixed) => {
            for key in fixed {
                tracing::warn!(key, "changed in the file; takes effect at the next start");
            }
            tracing::info!("configuration reloaded");
        }
        Err(error) => {
            tracing::error!(%error, "configuration not reloaded; the old one stays in force");
        }
    }
    let status = pulse::reloaded(bad.as_deref());
    live.bad_reload.send_replace(bad);
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}
