//! Adds the gateway to Postfix, or carries changes over into an installation.

mod free_ports;
mod gateway;
mod installer;
mod live;
mod main_cf;
mod master_cf;

pub(crate) use self::installer::Installation;
use self::installer::Installer;
use super::{
    Report, WiringError, directory, kept::Kept, lock::Lock, maps::Maps, needs::resolved,
    stage::Stage,
};

/// Adds the gateway, or carries over changes of gateway.toml, of the admin's milters and of
/// the options.
///
/// # Errors
/// [`WiringError::Refused`] if a condition is not met; nothing was changed then.
pub(crate) fn install(asked: &Installation) -> Result<Report, WiringError> {
    let (directory, postfix) = directory::find(asked.directory.as_deref())?;
    let config = resolved(&asked.config);
    let lock = (!asked.dry_run)
        .then(|| Lock::take(&directory, &config))
        .transpose()?;
    let kept = Kept::read(&directory)?;
    let keeper = lock.is_some().then(|| kept.directory());
    let stage = Stage::new(&directory, &config, keeper)?;
    stage.require_readable()?;
    let mut installer = Installer::new(asked, config, postfix, kept, stage)?;
    installer.plan()?;
    installer.finish()
}

impl Installer {
    /// Makes all changes on the copies.
    fn plan(&mut self) -> Result<(), WiringError> {
        self.remember_options();
        self.require_free_ports()?;
        let milters = self.milters()?;
        self.wire_milter(&milters)?;
        self.wire_main(
            "transport_maps",
            "mail for the gateway goes to the internal listener, whatever later maps say",
            self.needs.transport_map(),
        )?;
        self.wire_transport_settings()?;
        self.wire_verification()?;
        self.wire_services(&milters)?;
        let maps = Maps::of(self.stage.postconf())?;
        self.wire_gateway(&maps)?;
        self.wire_socket()?;
        self.explain_socket();
        self.give_warnings(&maps);
        Ok(())
    }

    fn finish(mut self) -> Result<Report, WiringError> {
        if self.stage.changes() == 0 {
            // A run may have been killed just before this last step.
            if !self.dry_run {
                self.kept.complete()?;
            }
            self.stage
                .report
                .say("Nothing to change: all is as it should be.");
        } else if self.dry_run {
            self.stage.report.say("Nothing was changed (--dry-run).");
        } else {
            self.go_live()?;
            self.say_next();
        }
        Ok(std::mem::take(&mut self.stage.report))
    }
}
