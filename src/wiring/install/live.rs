//! Replaces the files by the changed copies, after it has kept everything that an
//! uninstallation needs.

use std::{fs, path::Path};

use super::installer::Installer;
use crate::{
    new_file,
    wiring::{
        WiringError,
        kept::{Changed, sum_of},
        report::reload,
        socket::package_user,
    },
};

impl Installer {
    /// Keeps originals and plan before the first file changes.
    pub(super) fn go_live(&mut self) -> Result<(), WiringError> {
        let is_first = !self.kept.is_installed();
        for file in Changed::ALL {
            self.keep_original(file, is_first)?;
        }
        self.kept.plan(&self.next)?;
        if let Some(directory) = self
            .socket_directory
            .as_ref()
            .filter(|own| !own.path().exists())
        {
            let owner = self.stage.postconf().value("mail_owner")?;
            directory.make(package_user(), &owner)?;
        }
        for file in [Changed::Gateway, Changed::Master, Changed::Main] {
            self.stage.put(file)?;
        }
        self.kept.complete()
    }

    pub(super) fn keep_original(
        &mut self,
        file: Changed,
        is_first: bool,
    ) -> Result<(), WiringError> {
        let live = self.stage.live(file);
        if is_first {
            keep(&live, &self.kept.original(file))?;
        }
        let (key, value) = match is_first || self.kept.is_unedited(file, &live)? {
            true => ("sum", sum_of(&self.stage.staged(file))?),
            false => ("edited", "yes".to_owned()),
        };
        self.next.insert(format!("{key}:{}", file.name()), value);
        Ok(())
    }

    pub(super) fn say_next(&mut self) {
        let config = self.config_file.display().to_string();
        let reload = reload(self.stage.postfix());
        let report = &mut self.stage.report;
        report.say("Done. Next:");
        report.say(format!("    kms-gateway --config {config} check"));
        report.say("    systemctl reload-or-restart kms-gateway");
        report.say(reload);
    }
}

/// Keeps a copy of a file, synced to disk.
fn keep(file: &Path, kept: &Path) -> Result<(), WiringError> {
    fs::copy(file, kept)
        .and_then(|_| new_file::sync(kept))
        .map_err(WiringError::file(kept, "written"))
}
