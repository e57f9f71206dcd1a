//! The state of one run of the installer: its order, the files, and the entries so far.

use std::path::PathBuf;

use crate::{
    config::Config,
    wiring::{
        WiringError,
        kept::{Kept, State},
        needs::{Listeners, Needs, Wiring, milter_socket},
        postconf,
        service::{Filling, Version},
        socket::SocketDirectory,
        stage::Stage,
    },
};

/// The admin's order to the installer.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    /// The directory of Postfix's configuration; none: postconf's default.
    pub(crate) directory: Option<PathBuf>,
    /// The gateway's configuration file.
    pub(crate) config: PathBuf,
    /// The wiring; none: that of the last run, or else `Edge`.
    pub(crate) wiring: Option<Wiring>,
    /// Milters that sign replies; empty: those of the last run, or else Postfix's own.
    pub(crate) signers: Vec<String>,
    /// The address of the internal listener; none: as in the last run, or else the default.
    pub(crate) internal: Option<String>,
    /// Report the changes and make none.
    pub(crate) dry_run: bool,
}

/// One run of the installer.
pub(super) struct Installer {
    pub(super) config_file: PathBuf,
    pub(super) config: Config,
    pub(super) postfix: Version,
    pub(super) kept: Kept,
    pub(super) stage: Stage,
    pub(super) needs: Needs,
    pub(super) signers: Vec<String>,
    pub(super) dry_run: bool,
    pub(super) queue: String,
    pub(super) listeners: Listeners,
    /// The milter's socket as smtpd finds it.
    pub(super) socket: String,
    pub(super) socket_directory: Option<SocketDirectory>,
    pub(super) next: State,
}

impl Installer {
    pub(super) fn new(
        asked: &Installation,
        config_file: PathBuf,
        postfix: Version,
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
        let default = Filling::default().internal;
        let needs = Needs::read(&config, wiring, internal.unwrap_or(&default))?;
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
            postfix,
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

    pub(super) fn remember_options(&mut self) {
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
