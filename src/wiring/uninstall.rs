//! Takes the gateway out of Postfix. A file becomes its original, byte for byte. If it was
//! edited since, only the installer's entries are taken out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Report, WiringError, directory,
    gateway_toml::{GATEWAY_KEYS, gateway_value},
    kept::{Changed, Kept},
    list::is_at,
    lock::Lock,
    needs::resolved,
    postconf::Change,
    removing::{drop_service, is_our_map, restore_parameter, take_out},
    report::reload,
    stage::Stage,
    verification,
};
use crate::config::Config;

/// The admin's order to take the gateway out.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    /// The directory of Postfix's configuration; none: postconf's default.
    pub(crate) directory: Option<PathBuf>,
    /// The gateway's configuration file, if the installation has not noted it.
    pub(crate) config: PathBuf,
    /// Report the changes and make none.
    pub(crate) dry_run: bool,
}

/// Takes the gateway out.
///
/// # Errors
/// [`WiringError`] if a file can't be changed. Another run goes on from there.
pub(crate) fn uninstall(asked: &Removal) -> Result<Report, WiringError> {
    let (directory, _) = directory::find(asked.directory.as_deref())?;
    let kept = Kept::read(&directory)?;
    let config = match kept.known("option:config") {
        Some(known) => PathBuf::from(known),
        None => resolved(&asked.config),
    };
    let _lock = (!asked.dry_run)
        .then(|| Lock::take(&directory, &config))
        .transpose()?;
    // Read again: another run may have changed it before the lock was free.
    let kept = Kept::read(&directory)?;
    if !kept.is_installed() {
        return nothing_to_take_out(&directory, &kept, asked.dry_run);
    }
    let keeper = (!asked.dry_run).then(|| kept.directory());
    let mut stage = Stage::new(&directory, &config, keeper)?;
    stage.require_readable()?;
    restore(&mut stage, &kept)?;
    if asked.dry_run {
        stage.report.say("Nothing was changed (--dry-run).");
        return Ok(std::mem::take(&mut stage.report));
    }
    for file in [Changed::Main, Changed::Master, Changed::Gateway] {
        if stage.live(file).exists() {
            stage.put(file)?;
        }
    }
    if let Some(made) = kept.known("made") {
        // This fails if the gateway has left something in it, and then it stays.
        let _ = fs::remove_dir(made);
    }
    kept.forget()?;
    stage.report.say("Done. Next:");
    stage.report.say(reload(&directory));
    Ok(std::mem::take(&mut stage.report))
}

fn nothing_to_take_out(
    directory: &Path,
    kept: &Kept,
    dry_run: bool,
) -> Result<Report, WiringError> {
    if !dry_run {
        kept.forget()?;
    }
    let mut report = Report::default();
    report.say(format!(
        "The gateway is not installed in {}: nothing to take out.",
        directory.display()
    ));
    Ok(report)
}

fn restore(stage: &mut Stage, kept: &Kept) -> Result<(), WiringError> {
    for file in Changed::ALL {
        let live = stage.live(file);
        if !live.exists() {
            continue;
        }
        let shown = live.display();
        if kept.is_unedited(file, &live)? {
            stage
                .report
                .say(format!("{shown}: as it was before, byte for byte"));
            stage.restore(file, &kept.original(file))?;
            continue;
        }
        stage.report.say(format!(
            "{shown}: edited since; the edits stay, and only what was added is taken out:"
        ));
        match file {
            Changed::Main => edited_main(stage, kept)?,
            Changed::Master => edited_master(stage, kept)?,
            Changed::Gateway => edited_gateway(stage, kept)?,
        }
    }
    Ok(())
}

fn edited_main(stage: &mut Stage, kept: &Kept) -> Result<(), WiringError> {
    let is_our_milter = |milter: &str| kept.all("socket").any(|socket| is_at(milter, socket));
    take_out(stage, kept, "smtpd_milters", is_our_milter)?;
    for parameter in ["transport_maps", verification::PARAMETER] {
        take_out(stage, kept, parameter, is_our_map)?;
    }
    for parameter in kept.named("main:") {
        let present = stage.postconf().written(&parameter)?;
        if kept.is_ours(&format!("main:{parameter}"), &present) {
            let words = format!("main.cf: without {parameter}:");
            stage.change(words, &Change::Remove { parameter })?;
        }
    }
    let local = stage.postconf().written("non_smtpd_milters")?;
    if kept.is_ours("non_smtpd_milters", &local) {
        let before = kept.known("before:non_smtpd_milters").unwrap_or_default();
        restore_parameter(
            stage,
            kept,
            "non_smtpd_milters",
            before,
            "main.cf: non_smtpd_milters as it was:",
        )?;
    }
    Ok(())
}

fn edited_master(stage: &mut Stage, kept: &Kept) -> Result<(), WiringError> {
    for key in kept.named("service:") {
        drop_service(stage, kept, &key)?;
    }
    Ok(())
}

fn edited_gateway(stage: &mut Stage, kept: &Kept) -> Result<(), WiringError> {
    for key in GATEWAY_KEYS {
        let Some(ours) = kept.known(&format!("toml:{key}")) else {
            continue;
        };
        let config = Config::load(&stage.staged(Changed::Gateway))?;
        if gateway_value(&config, key) == ours {
            let before = kept.known(&format!("before:{key}")).unwrap_or_default();
            let words = format!("gateway.toml: {key} as it was:");
            stage.change_gateway(words, key, before)?;
        }
    }
    Ok(())
}
