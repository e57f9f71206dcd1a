//! Metrics for Prometheus. What is measured is in `crate::measures`; setting a
//! value does nothing where nobody may ask.

use std::{net::SocketAddr, path::Path};

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{commands::CommandError, config::ConfigError, measures::MEASURES};

/// Answers Prometheus at this address until the process ends.
pub(super) fn export(path: &Path, listen: SocketAddr) -> Result<(), CommandError> {
    let exporter = PrometheusBuilder::new().with_http_listener(listen);
    exporter.install().map_err(|error| {
        CommandError::Config(ConfigError::value(
            path,
            "metrics.listen",
            format_args!("{listen} can't be bound: {error}"),
            "name a free address there and to Prometheus, or end what holds this one",
        ))
    })?;
    for measure in MEASURES {
        metrics::describe_gauge!(measure.name, measure.about);
    }
    Ok(())
}
