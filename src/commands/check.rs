//! `check`: validates the configuration and examines what it names.

mod policy_table;
mod report;

use std::{path::Path, sync::Arc};

use clap::Args;
use jiff::Timestamp;

use self::report::Report;
use super::{
    CommandError, Ending,
    clock::watched,
    environment::sts_time,
    key_management,
    memory_limit::message_memory,
    milter_port,
    reply_port::{self, Tried},
    standard_output::{write_json, write_lines},
    start,
};
use crate::{
    clock::SystemClock,
    config::Config,
    kms::{KmcKeys, KmsTables},
    store::Store,
    wiring,
};

/// Validate the configuration and print the policy table with its settings.
#[derive(Debug, Args)]
#[command(after_help = "\
Tries what serve needs: the database is read as a whole, the master secret must
open it, the ports must be free or held by the running gateway of this database,
and the name servers must be known. What would keep serve from starting is a
problem.

Warns where Postfix does otherwise than the gateway needs it (kms-gateway postfix
check), where others than Postfix can reach the milter, when the last KMC key
expires soon, where somebody altered a sealed row, where an external key management
system does not answer, where a name server can't be asked, and where Postfix's
reply port refuses replies: it is tried as far as a reply's recipient, the gateway's
own address. Notes, which are no fault, that every user of this machine can reach a
milter on loopback, and that the gateway is not in Postfix yet. The exit code is 1
if there is a problem or a warning.

--json prints an object with
  configuration  the file
  facts          an array of {name, text}, in order; a name may come twice
  rules          an array of {rule, stage, patterns, source, summary, settings};
                 patterns is null where the rule has no list
  notes          an array of texts
  warnings       an array of texts
  problems       an array of texts: what keeps serve from starting
A configuration that is not valid prints no object, only an error.

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
    Ok(match report.is_well() {
        true => Ending::Done,
        false => Ending::ProblemFound,
    })
}

/// Looks at everything that a configuration names.
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
        Tried::Said(what) => report.fact("reply port", what),
        Tried::Warned(problem) => report.warn([problem]),
    }
    examine_start(path, config, &mut report).await?;
    Ok(report)
}

/// Compares Postfix's files with what the gateway needs. No Postfix is no fault: it
/// may run elsewhere.
fn examine_postfix(config: &Config, report: &mut Report) {
    let findings = match wiring::check(None, config) {
        Ok(findings) => findings,
        Err(error) => {
            return report.note([format!("Postfix's files can't be compared: {error}")]);
        }
    };
    let directory = findings.directory;
    match findings.wiring {
        Some(wiring) => report.fact(
            "Postfix",
            format!("{directory}, {} wiring", wiring.as_str()),
        ),
        None => report.note([format!(
            "{directory}: the gateway is not in Postfix; kms-gateway postfix install adds it"
        )]),
    }
    report.warn(findings.differences.iter().map(ToString::to_string));
    report.note(findings.notes);
}

/// Tries what `serve` needs, and looks at what there is of it.
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
        let altered = kms.altered_rows().await?;
        report.warn(altered.and_then(|altered| altered.alarm()));
        report.warn(key_management::keys_left_behind(config, &store).await?);
        report.warn(key_warning(config, &store).await?);
        let clock = watched(Arc::new(SystemClock), &store).await?;
        report.warn(clock.doubt().map(|doubt| doubt.to_string()));
        store.close().await;
    }
    Ok(())
}

/// The configuration's main points.
fn overview(config: &Config, report: &mut Report) {
    for address in &config.gateway.addresses {
        report.fact("gateway address", address.0.to_string());
    }
    let store = &config.store;
    report.fact(
        "store",
        format!(
            "{} [max_requests = {}] [max_bytes = {}] [min_free_bytes = {}]",
            store.path.display(),
            store.max_requests,
            store.max_bytes,
            store.min_free_bytes
        ),
    );
    report.fact(
        "memory for messages",
        format!(
            "{} bytes [max_memory = {}]",
            message_memory(config),
            config.milter.max_memory
        ),
    );
    report.fact("key management system", key_management::description(config));
}

/// The block lists that are shown by another name than they are asked by.
fn hidden_zones(config: &Config) -> impl Iterator<Item = String> {
    let zones = config.dnsbl.zones.iter().map(|zone| &zone.site.zone);
    zones.filter(|zone| zone.has_key()).map(|zone| {
        format!(
            "dnsbl.zones: the name that is asked for {zone} holds a key, which nothing shows; \
             public_name = \"{zone}\" beside its site makes sure of that name"
        )
    })
}

/// What is to be said of the KMC's keys.
async fn key_warning(config: &Config, store: &Store) -> Result<Option<String>, CommandError> {
    let Some(warning) = key_management::key_warning(config) else {
        return Ok(None);
    };
    let rows = store.kmc_keys().await?;
    let keys = KmcKeys::at(sts_time(Timestamp::now())?, &rows);
    let ending = keys.run_out(warning.as_signed());
    Ok(ending.map(|ending| ending.to_string()))
}
