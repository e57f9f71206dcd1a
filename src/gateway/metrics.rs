//! The exporter for Prometheus: describes the table of `crate::measures` and
//! renders the counts. Nothing is counted until it is installed. Knows no port.

use std::{sync::Arc, time::Duration};

use metrics::Unit as ExportedUnit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

use super::{GatewayError, log::Log};
use crate::{
    config::Config,
    measures::{
        BUILD, Build, DATABASE_CLOCK_AHEAD, Kind, LOG_LINES_LOST, MEASURES, MILTER_LIMIT,
        MILTER_SESSIONS, Measure, NODES, RELOAD_IS_GOOD, SPOOL_LIMIT, SPOOL_LIMIT_BYTES, STARTED,
        Unit,
    },
    time::Clock,
};

/// How often samples are moved into the buckets of histograms, whether or not
/// Prometheus asks.
const UPKEEP: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Metrics {
    exporter: PrometheusHandle,
    /// Counts its lost lines itself, from the start of the process.
    log: Log,
}

impl Metrics {
    /// Starts to count. Earlier counts are lost.
    pub(super) fn install(
        config: &Config,
        clock: &Arc<dyn Clock>,
        log: Log,
    ) -> Result<Self, GatewayError> {
        let exporter = install_exporter(config).map_err(|error| {
            GatewayError::other(format_args!("nothing can be measured: {error}"))
        })?;
        MEASURES.iter().map(|row| row.measure()).for_each(describe);
        MEASURES.iter().for_each(|row| row.begin());
        set_initial_values(config, clock);
        Ok(Self { exporter, log })
    }

    pub(super) fn page(&self) -> String {
        LOG_LINES_LOST.only().absolute(self.log.losses().total);
        self.exporter.render()
    }

    /// Keeps the memory of histograms bounded, for ever.
    pub(super) async fn upkeep(self) {
        let mut times = interval(UPKEEP);
        loop {
            times.tick().await;
            self.exporter.run_upkeep();
        }
    }
}

fn install_exporter(config: &Config) -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    if let Some(node) = config.shown_node() {
        builder = builder.add_global_label("node", node);
    }
    let measures = || MEASURES.iter().map(|row| row.measure());
    for measure in measures().filter(|measure| measure.kind == Kind::Histogram) {
        let name = Matcher::Full(measure.name.to_owned());
        builder = builder.set_buckets_for_metric(name, measure.buckets)?;
    }
    builder.install_recorder()
}

fn describe(measure: &Measure) {
    let unit = match measure.unit {
        Unit::Count => ExportedUnit::Count,
        Unit::Seconds => ExportedUnit::Seconds,
        Unit::Bytes => ExportedUnit::Bytes,
    };
    let (name, about) = (measure.name, measure.about);
    match measure.kind {
        Kind::Counter => metrics::describe_counter!(name, unit, about),
        Kind::Gauge => metrics::describe_gauge!(name, unit, about),
        Kind::Histogram => metrics::describe_histogram!(name, unit, about),
    }
}

/// Sets the values that never change, and the gauges that count from an initial
/// value.
fn set_initial_values(config: &Config, clock: &Arc<dyn Clock>) {
    BUILD.at(Build).set(1);
    STARTED.only().set(clock.now().as_second() as f64);
    RELOAD_IS_GOOD.only().set(1);
    MILTER_SESSIONS.only().set(0);
    // A gateway of several measures both.
    DATABASE_CLOCK_AHEAD.only().set(0);
    NODES.only().set(1);
    MILTER_LIMIT
        .only()
        .set(config.milter.max_connections as f64);
    SPOOL_LIMIT.only().set(config.store.max_requests as f64);
    SPOOL_LIMIT_BYTES.only().set(config.store.max_bytes as f64);
}
