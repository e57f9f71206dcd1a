//! Adds the gateway to Postfix, or carries changes over into an installation.

mod free_ports;
mod gateway;
mod live;
mod main_cf;
mod master_cf;

use std::path::PathBuf;

use super::{
    Report, WiringError,
    kept::{Kept, State},
    lock::Lock,
    needs::{Listeners, Needs, Wiring, milter_socket},
    postconf,
    socket::SocketDirectory,
    stage::Stage,
};
use crate::config::Config;

/// The admin's order to the installer.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The directory of Postfix's configuration; none: postconf's default.
    pub directory: Option<PathBuf>,
    /// The gateway's configuration file.
    pub config: PathBuf,
    /// The wiring; none: that of the last run, or else `Edge`.
    pub wiring: Option<Wiring>,
    /// Milters that sign replies; empty: those of the last run, or else Postfix's own.
    pub signers: Vec<String>,
    /// The address of the internal listener; none: as in the last run, or else the default.
    pub internal: Option<String>,
    /// Report the changes and make none.
    pub dry_run: bool,
}

/// The default address of the internal listener.
const INTERNAL: &str = "127.0.0.1:18026";

/// Adds the gateway, or carries over changes of gateway.toml, of the admin's milters and of
/// the options.
///
/// # Errors
/// [`WiringError::Refused`] if a condition is not met; nothing was changed then.
pub fn install(asked: &Installation) -> Result<Report, WiringError> {
    let directory = super::configuration_directory(asked.directory.as_deref())?;
    super::require_files(&directory)?;
    let config = super::resolved(&asked.config);
    let lock = (!asked.dry_run)
        .then(|| Lock::take(&directory, &config))
        .transpose()?;
    let kept = Kept::read(&directory)?;
    let keeper = lock.is_some().then(|| kept.directory());
    let stage = Stage::new(&directory, &config, keeper)?;
    stage.require_readable()?;
    let mut installer = Installer::new(asked, config, kept, stage)?;
    installer.plan()?;
    installer.finish()
}

/// One run of the installer.
struct Installer {
    config_file: PathBuf,
    config: Config,
    kept: Kept,
    stage: Stage,
    needs: Needs,
    signers: Vec<String>,
    dry_run: bool,
    queue: String,
    listeners: Listeners,
    /// The milter's socket as smtpd finds it.
    socket: String,
    socket_directory: Option<SocketDirectory>,
    next: State,
}

impl Installer {
    fn new(
        asked: &Installation,
        config_file: PathBuf,
        kept: Kept,
        stage: Stage,
    ) -> Result<Self, WiringError> {
        let config = Config::load(&config_file)?;
        let wiring = asked
            .wiring
            .or_else(|| Wiring::parse(kept.known("option:wiring")?))
            .unwrap_or(Wiring::Edge);
        let remembered = asked.internal.as_deref();
        let internal = remembered.or_else(|| kept.known("option:internal"));
        let needs = Needs::read(&config, wiring, internal.unwrap_or(INTERNAL))?;
        let signers = match asked.signers.is_empty() {
            false => asked.signers.clone(),
            true => remembered_signers(&kept),
        };
        let postconf = stage.postconf();
        needs.fit(&postconf)?;
        let queue = postconf.value("queue_directory")?;
        let listeners = Listeners::read(&postconf, |service| is_ours(&kept, &needs, service))?;
        let socket = milter_socket(&needs, &queue, &listeners)?;
        Ok(Self {
            config_file,
            config,
            socket_directory: SocketDirectory::of(&needs.listen),
            kept,
            stage,
            needs,
            signers,
            dry_run: asked.dry_run,
            queue,
            listeners,
            socket,
            next: State::new(),
        })
    }

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
        self.wire_gateway()?;
        self.wire_socket()?;
        self.explain_socket();
        self.give_warnings()
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

/// Whether a service of master.cf is one of the gateway's.
fn is_ours(kept: &Kept, needs: &Needs, service: &postconf::Service) -> bool {
    let key = service.key();
    kept.known(&format!("service:{key}")).is_some()
        || service.name == needs.internal
        || service.name == needs.reply
}

fn remembered_signers(kept: &Kept) -> Vec<String> {
    (0..)
        .map_while(|number| kept.known(&format!("option:signer:{number}")))
        .map(str::to_owned)
        .collect()
}

impl Installer {
    fn remember_options(&mut self) {
        let options = [
            ("option:wiring", self.needs.wiring.as_str().to_owned()),
            ("option:internal", self.needs.internal.clone()),
            ("option:config", self.config_file.display().to_string()),
        ];
        for (key, value) in options {
            self.next.insert(key.to_owned(), value);
        }
        for (number, signer) in self.signers.iter().enumerate() {
            self.next
                .insert(format!("option:signer:{number}"), signer.clone());
        }
    }
}
