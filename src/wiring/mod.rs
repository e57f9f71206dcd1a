//! What Postfix must say so that mail reaches the gateway and its replies leave:
//! compared with what main.cf, master.cf and the tables say, put in, and taken out
//! again. It must not know mail and storage.
//!
//! Every change is made by postconf(1) on copies, which then take the files' places
//! one after the other. Killed at any moment, a run leaves whole files, and a state
//! from which both another run and an uninstallation go on.

mod check;
mod comparison;
mod copies;
mod error;
mod install;
mod kept;
mod list;
mod lock;
mod maps;
mod needs;
pub mod parameters;
mod ports;
mod postconf;
mod report;
mod rewriting;
pub mod services;
mod site;
mod socket;
mod stage;
mod uninstall;
mod verification;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use self::{
    check::{Findings, check},
    error::WiringError,
    install::{Installation, install},
    needs::Wiring,
    report::{Line, Report},
    site::Difference,
    uninstall::{Removal, uninstall},
};
use self::{
    kept::{Changed, Kept},
    needs::resolved,
    postconf::{Change, Postconf},
    services::{OLDEST, Version},
    stage::Stage,
};
use crate::config::Config;

/// The keys of gateway.toml that the installer sets.
const GATEWAY_KEYS: [&str; 2] = ["milter.keep_bcc", "gateway.recipient_delimiter"];

/// What `config get` prints for one of [`GATEWAY_KEYS`].
fn gateway_value(config: &Config, key: &str) -> String {
    match key {
        "milter.keep_bcc" => config.milter.keep_bcc.to_string(),
        _ => config.gateway.recipient_delimiter.clone(),
    }
}

/// Whether an element of a list of tables is ours.
fn is_our_map(map: &str) -> bool {
    let marks = [
        format!("{}:[", services::TRANSPORT),
        verification::ROUTE.to_owned(),
    ];
    map.starts_with("inline:{") && marks.iter().any(|mark| map.contains(mark))
}

/// Postfix's directory: the one that is given, or postconf's own.
fn configuration_directory(given: Option<&Path>) -> Result<PathBuf, WiringError> {
    let directory = match given {
        Some(given) => given.to_owned(),
        None => Postconf::default_directory()?,
    };
    Ok(resolved(&directory))
}

/// The version of the Postfix that is installed.
fn version() -> Result<Version, WiringError> {
    let shown = Postconf::version()?;
    let mut numbers = shown.split('.').map_while(|number| number.parse().ok());
    let version = match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => {
            return WiringError::refused(format!(
                "postconf says that Postfix has the version {shown}"
            ));
        }
    };
    if version < OLDEST {
        return WiringError::refused(format!(
            "this is Postfix {shown}; 3.7 is needed, for inline: maps and milters with settings of \
             their own in braces"
        ));
    }
    Ok(version)
}

/// Makes sure that main.cf and master.cf are there and can be read.
fn require_files(directory: &Path) -> Result<(), WiringError> {
    version()?;
    for file in [Changed::Main, Changed::Master] {
        let file = directory.join(file.name());
        let Ok(metadata) = file.symlink_metadata() else {
            return WiringError::refused(format!(
                "there is no {}; name Postfix's configuration by --config-directory",
                file.display()
            ));
        };
        if metadata.is_symlink() {
            return WiringError::refused(format!(
                "{} is a link, in whose place postconf would put a file; make it a file",
                file.display()
            ));
        }
    }
    Ok(())
}

/// Sets a parameter of main.cf to what it is without us. One that came with us goes.
fn restore_parameter(
    stage: &mut Stage,
    kept: &Kept,
    parameter: &str,
    value: &str,
    words: impl Into<String>,
) -> Result<(), WiringError> {
    let was_set = match kept.original(Changed::Main).exists() {
        true => Postconf::at(kept.directory()).sets(parameter),
        false => stage.before().sets(parameter),
    }?;
    let parameter = parameter.to_owned();
    let is_default = value == stage.postconf().default(&parameter)?;
    let change = match !was_set && is_default {
        true => Change::Remove { parameter },
        false => Change::Set {
            parameter,
            value: value.to_owned(),
        },
    };
    stage.change(words, &change)
}

/// Takes a service of ours out of master.cf.
fn drop_service(stage: &mut Stage, kept: &Kept, key: &str) -> Result<(), WiringError> {
    let Some(present) = stage.postconf().entry(key)? else {
        return Ok(());
    };
    if !kept.is_ours(&format!("service:{key}"), &present) {
        stage.report.warn(format!(
            "master.cf: the service {key} was edited; this was its text: {present}"
        ));
    }
    let change = Change::RemoveService {
        key: key.to_owned(),
    };
    stage.change(format!("master.cf: without the service {key}:"), &change)
}

/// Keeps a file as it is now.
fn keep(file: &Path, kept: &Path) -> Result<(), WiringError> {
    fs::copy(file, kept)
        .and_then(|_| crate::new_file::sync(kept))
        .map_err(WiringError::file(kept, "written"))
}

/// The commands that have Postfix read its files again.
fn reload(directory: &Path) -> String {
    let directory = directory.display();
    format!("    postfix -c {directory} check && postfix -c {directory} reload")
}
