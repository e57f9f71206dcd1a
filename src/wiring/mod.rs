//! Adds the gateway to Postfix's main.cf and master.cf, compares them with the gateway's
//! needs, and takes the gateway out again. It must not know mail and storage.
//!
//! postconf(1) makes every change on copies, which then replace the files one after the
//! other. A run that is killed at any moment leaves whole files, and a state from which
//! another run or an uninstallation can go on.

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
mod service;
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

/// The value of one of [`GATEWAY_KEYS`], as `config get` prints it.
fn gateway_value(config: &Config, key: &str) -> String {
    match key {
        "milter.keep_bcc" => config.milter.keep_bcc.to_string(),
        _ => config.gateway.recipient_delimiter.clone(),
    }
}

/// Whether an element of a list of tables is the gateway's.
fn is_our_map(map: &str) -> bool {
    let marks = [
        format!("{}:[", services::TRANSPORT),
        verification::ROUTE.to_owned(),
    ];
    map.starts_with("inline:{") && marks.iter().any(|mark| map.contains(mark))
}

/// Postfix's directory: the given one, or else postconf's default.
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
                "postconf reports the version {shown}, which is no number; check that postconf is \
                 Postfix's"
            ));
        }
    };
    if version < OLDEST {
        return WiringError::refused(format!(
            "this is Postfix {shown}; upgrade to 3.7 or later, which has inline: maps and milters \
             with settings in braces"
        ));
    }
    Ok(version)
}

/// Verifies that Postfix is recent enough, and that main.cf and master.cf are files.
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
                "{} is a symbolic link, which postconf would replace by a file; make it a file",
                file.display()
            ));
        }
    }
    Ok(())
}

/// Sets a parameter of main.cf to its value without the gateway. A parameter that the
/// installer added is removed.
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

/// Takes a service of the gateway out of master.cf.
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

/// Keeps a copy of a file, synced to disk.
fn keep(file: &Path, kept: &Path) -> Result<(), WiringError> {
    fs::copy(file, kept)
        .and_then(|_| crate::new_file::sync(kept))
        .map_err(WiringError::file(kept, "written"))
}

/// The command that makes Postfix read its files again.
fn reload(directory: &Path) -> String {
    let directory = directory.display();
    format!("    postfix -c {directory} check && postfix -c {directory} reload")
}
