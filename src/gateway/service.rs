//! The running gateway: milter, worker and upkeep on one store.

use std::{
    convert::Infallible,
    future::{Future, pending},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{sync::watch, time::Instant};

use super::{
    GatewayError,
    clock::watched,
    health::Vitals,
    key_management,
    live::Live,
    log::Log,
    memory_limit::message_memory,
    milter_port,
    nodes::Nodes,
    pulse::Pulse,
    reload::reload,
    signals::Signals,
    soundness::damage,
    start,
    tasks::{Tasks, in_time},
};
use crate::{
    config::{Config, Period},
    kms::AlteredRows,
    milter::{self, Connections, Gateway, InFlight, Memory, MilterSocket},
    store::Store,
    time::{Clock, WatchedClock},
    worker::{Retry, Upkeep, Worker},
};

/// Limit of the whole end: the milter's drain and a step of the worker. systemd
/// waits for 90 s.
const END_TIME: Duration = Duration::from_secs(30);

/// Limit for the store to free the gateway's name and to finish its pending work.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// The running gateway: milter, worker and upkeep on one store.
pub struct Service {
    path: PathBuf,
    config: Config,
    clock: Arc<WatchedClock>,
    store: Arc<Store>,
    live: Live,
    connections: Arc<Connections>,
    memory: Arc<Memory>,
    /// The altered sealed rows that upkeep found last.
    altered_rows: watch::Sender<AlteredRows>,
    /// This gateway among those of the database, if there may be several.
    nodes: Option<Arc<Nodes>>,
    /// The differences among them that were found last.
    differences: watch::Sender<Vec<String>>,
    tasks: Tasks,
    stop: watch::Sender<bool>,
    hurry: watch::Sender<bool>,
}

impl Service {
    /// Starts the gateway of the configuration at `path`, by this clock.
    ///
    /// # Errors
    /// Any [`GatewayError`] that can keep the gateway from starting.
    pub async fn start(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, GatewayError> {
        Self::of(path, Config::load(path)?, clock).await
    }

    /// Waits until the gateway can't go on. Either a task ended by itself, which none may: the
    /// returned error names the task and the reason. Or another gateway took this one's name.
    pub async fn failure(&mut self) -> GatewayError {
        let ended = tokio::select! {
            ended = self.tasks.next_to_end() => ended,
            error = replaced(self.nodes.as_deref()) => return error,
        };
        let Some(ended) = ended else {
            return GatewayError::other("nothing runs");
        };
        let why = ended.result.err();
        GatewayError::other(format_args!(
            "the {} ended by itself, which is a fault of the gateway: {}; start it again",
            ended.name,
            why.as_deref().unwrap_or("it gave no reason"),
        ))
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.end(pending()).await;
    }

    pub(super) async fn of(
        path: &Path,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, GatewayError> {
        let (store, kms) = key_management::open_to_serve(path, &config).await?;
        if let Some(left_behind) = key_management::keys_left_behind(&config, &store).await? {
            tracing::warn!("{left_behind}");
        }
        let clock = watched(clock, &store).await?;
        for warning in milter_port::warnings(&config) {
            tracing::warn!("{warning}");
        }
        let live = Live::new(&config, kms)?;
        let differences = watch::Sender::default();
        // Before the port: Postfix must not wait for a gateway that waits for its name.
        let nodes = join(&store, &live, &differences).await?;
        let socket = start::milter(path, &config).await?;
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
            nodes,
            differences,
            tasks: Tasks::default(),
            stop: watch::Sender::new(false),
            hurry: watch::Sender::new(false),
        };
        service.start_tasks(socket);
        Ok(service)
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    fn start_tasks(&mut self, socket: MilterSocket) {
        let (config, live, clock) = (&self.config, &self.live, &self.clock);
        let store: Arc<Store> = self.store.clone();
        let worker = Arc::new(Worker {
            store: store.clone(),
            clock: clock.clone(),
            answering: live.answering.subscribe(),
            delivering: live.delivering.subscribe(),
            lease: config.worker.lease,
            retry: Retry {
                first: config.worker.first_retry,
                longest: config.worker.longest_retry,
                give_up: config.worker.give_up,
                notice_after: config.worker.notice_after,
            },
        });
        let worker = worker.run(
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
        if let Some(nodes) = &self.nodes {
            let noting = nodes.clone().run(self.stop.subscribe());
            self.tasks.start("noting", noting.map(Ok::<(), Infallible>));
        }
    }

    pub(super) fn pulse(&self, vitals: Option<watch::Sender<Vitals>>, log: Log) -> Pulse {
        Pulse {
            store: self.store.clone(),
            clock: self.clock.clone(),
            delivering: self.live.delivering.subscribe(),
            bad_reload: self.live.bad_reload.subscribe(),
            connections: self.connections.clone(),
            altered_rows: self.altered_rows.subscribe(),
            differences: self.differences.subscribe(),
            log,
            memory: self.memory.clone(),
            vitals,
        }
    }

    /// Handles signals until SIGTERM or SIGINT, and checks the database meanwhile.
    ///
    /// # Errors
    /// A task ended first, or the database is damaged.
    pub(super) async fn attend(&mut self, signals: &mut Signals) -> Result<(), GatewayError> {
        let store = self.store.clone();
        let mut damage = pin!(damage(&store));
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.hangup.recv() => reload(&self.path, &self.config, &self.live),
                failure = self.failure() => return Err(failure),
                found = &mut damage => return Err(found.into()),
            }
        }
    }

    /// Ends all tasks within [`END_TIME`]. Once `hurried` is done, the end no longer
    /// waits for messages on their way.
    pub(super) async fn end(mut self, hurried: impl Future<Output = ()>) {
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
                "tasks still at work are abandoned; the next start repeats their steps"
            );
        }
        let closing = async {
            if let Some(nodes) = &self.nodes {
                nodes.leave().await;
            }
            self.store.close().await;
        };
        if !in_time(CLOSING_TIME, closing).await {
            tracing::error!("the store does not close; committed data is safe");
        }
    }
}

/// Takes this gateway's place among those of its database, if there may be others.
async fn join(
    store: &Arc<Store>,
    live: &Live,
    differences: &watch::Sender<Vec<String>>,
) -> Result<Option<Arc<Nodes>>, GatewayError> {
    if !store.is_shared() {
        return Ok(None);
    }
    let policy = live.policy_digest.subscribe();
    let joined = Nodes::join(store.clone(), policy, differences.clone()).await?;
    Ok(Some(Arc::new(joined)))
}

/// Ends when another gateway has taken this one's name. Never ends where there is one gateway.
async fn replaced(nodes: Option<&Nodes>) -> GatewayError {
    match nodes {
        Some(nodes) => nodes.replaced().await,
        None => pending().await,
    }
}

/// How long replay marks are kept: the longest wait of a request that was fresh at
/// its acceptance. A module's watermark refuses everything older than its marks,
/// and must not refuse a request that only waited. All parts are fixed at start
/// except `throttle.block_for`; the slack of a day covers that.
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
