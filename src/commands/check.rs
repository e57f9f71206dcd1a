//! `check`: validates the configuration and examines the parts that it names.

mod policy_table;
mod report;

use std::{path::Path, sync::Arc};

use clap::Args;

use self::report::Report;
use super::{
    CommandError, Ending,
    standard_output::{write_json, write_lines},
};
use crate::{
    config::Config,
    gateway::{
        clock::{self, watched},
        differences::{differences, running},
        environment::sts_time,
        key_management,
        memory_limit::message_memory,
        milter_port, nodes,
        policy_digest::policy_digest,
        reply_port, start,
    },
    kms::{KmcKeys, KmsTables},
    store::Store,
    time::SystemClock,
    wiring,
};

/// Validate the configuration and print the policy table with its settings.
#[derive(Debug, Args)]
#[command(after_help = "\
Reports a problem for each thing that keeps serve from starting. The whole
database must be readable, and the master secret must open it. The ports must be
free, or held by the running gateway of this database. The name servers must be
known.

Reports a warning if
  - Postfix differs from what the gateway needs (kms-gateway postfix check)
  - others than Postfix can reach the milter
  - the last KMC key expires soon
  - somebody altered a sealed row
  - an external key management system does not answer
  - a name server can't be asked
  - Postfix's reply port refuses replies
  - with PostgreSQL, this machine's clock is more than 10 s off the database's, or
    another gateway of the database has another policy or version
The port is tried up to a reply's recipient, which is the gateway's own address.
Nothing is delivered.

Reports a note, which is no fault, if every user of this machine can reach a
milter on loopback, or if the gateway is not in Postfix yet.

The exit code is 1 if there is a problem or a warning.

--json prints an object with
  configuration  the file
  facts          an array of {name, text}, in order; a name may come twice
  rules          an array of {rule, stage, patterns, source, summary, settings};
                 patterns is null where the rule has no list
  notes          an array of texts
  warnings       an array of texts
  problems       an array of texts: the things that keep serve from starting
An invalid configuration prints no object, only an error.

Examples:
  kms-gateway --config gateway.toml check
  kms-gateway check --json | jq '.warnings[]'")]
pub(super) struct Arguments {
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    let report = examine(path, &config).await?;
    match arguments.json {
        true => write_json(&report)?,
        false => write_lines(report.lines())?,
    }
    Ok(Ending::of_search(report.is_well()))
}

/// Examines everything that a configuration names.
async fn examine(path: &Path, config: &Config) -> Result<Report, CommandError> {
    let mut report = Report::new(path, policy_table::rows(config));
    overview(config, &mut report);
    examine_postfix(config, &mut report);
    report.note(milter_port::note(config));
    report.note(hidden_zones(config));
    report.warn(milter_port::warnings(config));
    match key_management::try_remote(config).await {
        Some(Ok(key)) => report.fact("its public key", key),
        Some(Err(problem)) => report.warn([problem]),
        None => {}
    }
    match reply_port::try_port(config).await {
        Ok(answer) => report.fact("reply port", answer),
        Err(problem) => report.warn([problem]),
    }
    examine_start(path, config, &mut report).await?;
    Ok(report)
}

/// Compares Postfix's files with the gateway's needs. A missing Postfix is no fault:
/// it may run elsewhere.
fn examine_postfix(config: &Config, report: &mut Report) {
    let findings = match wiring::check(None, config) {
        Ok(findings) => findings,
        Err(error) => {
            return report.note([format!("Postfix's files can't be compared: {error}")]);
        }
    };
    let directory = findings.directory;
    match findings.wiring {
        Some(wiring) => {
            let wiring = wiring.as_str();
            report.fact("Postfix", format!("{directory}, {wiring} wiring"));
        }
        None => report.note([format!(
            "{directory}: the gateway is not in Postfix; kms-gateway postfix install adds it"
        )]),
    }
    report.warn(findings.differences.iter().map(ToString::to_string));
    report.note(findings.notes);
}

/// Tries the needs of `serve`, and examines the parts that open.
async fn examine_start(
    path: &Path,
    config: &Config,
    report: &mut Report,
) -> Result<(), CommandError> {
    let rehearsal = start::rehearse(path, config).await;
    report.refuse(rehearsal.problems);
    if let Some(blocklists) = rehearsal.blocklists {
        report.warn(blocklists.warnings().iter().cloned());
    }
    if let Some((store, kms)) = rehearsal.opened {
        report.fact("database", store.description().await?);
        let altered = kms.altered_rows().await?;
        report.warn(altered.and_then(|altered| altered.alarm()));
        report.warn(key_management::keys_left_behind(config, &store).await?);
        report.warn(key_warning(config, &store).await?);
        let clock = watched(Arc::new(SystemClock), &store).await?;
        report.warn(clock.doubt().map(|doubt| doubt.to_string()));
        examine_nodes(config, &store, report).await?;
        store.close().await;
    }
    Ok(())
}

/// Compares this gateway with the others of its database, if there may be others.
async fn examine_nodes(
    config: &Config,
    store: &Store,
    report: &mut Report,
) -> Result<(), CommandError> {
    if !store.is_shared() {
        return Ok(());
    }
    let own = nodes::own_node(store, &policy_digest(config))?;
    let all = store.nodes().await?;
    let names: Vec<&str> = running(&all).map(|node| node.name.as_str()).collect();
    report.fact("this gateway", own.name.clone());
    report.fact("gateways that run", names.join(", "));
    report.warn(differences(&own, &all));
    report.refuse(nodes::refusal(&own, &all, store));
    Ok(())
}

fn overview(config: &Config, report: &mut Report) {
    for address in &config.gateway.addresses {
        report.fact("gateway address", address.0.to_string());
    }
    let store = &config.store;
    // The disk of a server is not the gateway's to watch.
    let room = match store.postgresql {
        None => format!(" [min_free_bytes = {}]", store.min_free_bytes),
        Some(_) => String::new(),
    };
    report.fact(
        "store",
        format!(
            "{} [max_requests = {}] [max_bytes = {}]{room}",
            store.place(),
            store.max_requests,
            store.max_bytes
        ),
    );
    let (memory, limit) = (message_memory(config), config.milter.max_memory);
    let memory = format!("{memory} bytes [max_memory = {limit}]");
    report.fact("memory for messages", memory);
    report.fact("key management system", key_management::description(config));
}

/// Notes the blocklists whose real name holds a key, and is never shown.
fn hidden_zones(config: &Config) -> impl Iterator<Item = String> {
    let zones = config.dnsbl.zones.iter().map(|zone| &zone.site.zone);
    zones.filter(|zone| zone.has_key()).map(|zone| {
        format!(
            "dnsbl.zones: the queried name of {zone} holds a key, which is never shown; \
             public_name = \"{zone}\" beside its site fixes the shown name"
        )
    })
}

/// Warns if the last of the KMC's keys ends soon.
async fn key_warning(config: &Config, store: &Store) -> Result<Option<String>, CommandError> {
    let Some(warning) = key_management::key_warning(config) else {
        return Ok(None);
    };
    let rows = store.kmc_keys().await?;
    let keys = KmcKeys::at(sts_time(clock::now(store))?, &rows);
    let ending = keys.run_out(warning.as_signed());
    Ok(ending.map(|ending| ending.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_help_names_every_field() {
        let help = Arguments::augment_args(clap::Command::new("check"))
            .render_long_help()
            .to_string();
        let report = Report::new(Path::new("/etc/gateway.toml"), Vec::new());
        for (field, _) in serde_json::to_value(report).unwrap().as_object().unwrap() {
            assert!(help.contains(&format!("\n  {field} ")), "{field}: {help}");
        }
    }
}
