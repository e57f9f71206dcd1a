//! The exporter for Prometheus: describes the table of `crate::measures` and
//! renders what was counted. Nobody counts anything without it. Knows no port.

use std::{sync::Arc, time::Duration};

use metrics::Unit as ExportedUnit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

use crate::{
    clock::Clock,
    commands::CommandError,
    config::Config,
    measures::{
        BUILD, Build, Kind, MEASURES, MILTER_LIMIT, MILTER_SESSIONS, Measure, RELOAD_IS_GOOD,
        SPOOL_LIMIT, SPOOL_LIMIT_BYTES, STARTED, Unit,
    },
};

/// How often what histograms were told is put into their buckets, whether or
/// not anybody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Has everything counted from here on. What was counted before is lost.
pub(super) fn install(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<PrometheusHandle, CommandError> {
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::other(format_args!("nothing can be measured: {error}"))
    };
    let mut builder = PrometheusBuilder::new();
    let measures = || MEASURES.iter().map(|row| row.measure());
    for measure in measures().filter(|measure| measure.kind == Kind::Histogram) {
        let name = Matcher::Full(measure.name.to_owned());
        builder = builder
            .set_buckets_for_metric(name, measure.buckets)
            .map_err(|error| failed(&error))?;
    }
    let handle = builder.install_recorder().map_err(|error| failed(&error))?;
    measures().for_each(describe);
    MEASURES.iter().for_each(|row| row.begin());
    tell_what_stays(config, clock);
    Ok(handle)
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

/// What is fixed at start, and where counting up and down begins.
fn tell_what_stays(config: &Config, clock: &Arc<dyn Clock>) {
    BUILD.at(Build).set(1);
    STARTED.only().set(clock.now().as_second() as f64);
    RELOAD_IS_GOOD.only().set(1);
    MILTER_SESSIONS.only().set(0);
    MILTER_LIMIT
        .only()
        .set(config.milter.max_connections as f64);
    SPOOL_LIMIT.only().set(config.store.max_requests as f64);
    SPOOL_LIMIT_BYTES.only().set(config.store.max_bytes as f64);
}

/// Keeps the memory of histograms bounded, for ever.
pub(super) async fn upkeep(handle: PrometheusHandle) {
    let mut times = interval(UPKEEP);
    loop {
        times.tick().await;
        handle.run_upkeep();
    }
}
