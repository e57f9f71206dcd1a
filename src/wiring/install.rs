//! Adds the gateway to Postfix, or carries over what has changed.

use std::path::PathBuf;

use super::{
    Report, WiringError, copies,
    kept::{Changed, Kept, State, sum_of},
    list::{List, is_at},
    lock::Lock,
    maps::Maps,
    needs::{Listeners, Needs, Wiring, milter_socket},
    ports::{self, Port},
    postconf::{self, Change},
    services::{Filling, OF_TRANSPORT, Role, SERVICES, Service},
    socket::SocketDirectory,
    stage::Stage,
    verification,
};
use crate::config::Config;

/// What the admin asks the installer for.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Postfix's configuration; postconf's own where none is given.
    pub directory: Option<PathBuf>,
    /// The gateway's configuration file.
    pub config: PathBuf,
    /// None: the one of the last run, else `Edge`.
    pub wiring: Option<Wiring>,
    /// Milters that sign replies; empty: those of the last run, else Postfix's own.
    pub signers: Vec<String>,
    /// Where mail for the gateway comes out of the queue; none: as in the last run.
    pub internal: Option<String>,
    /// Change nothing.
    pub dry_run: bool,
}

/// Where mail comes out of the queue unless the admin says otherwise.
const INTERNAL: &str = "127.0.0.1:18026";

/// Adds the gateway, or carries over what has changed in gateway.toml, in the
/// admin's milters or in the options.
///
/// # Errors
/// What stands in the way; nothing was changed then.
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

/// One run.
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
    /// Where smtpd finds the milter.
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
            // A run that was killed may have left only this undone.
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

// What must hold.
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

    /// Refuses an address that somebody else listens at: a service of master.cf, or
    /// any process but this Postfix and, at the milter's port, the gateway.
    fn require_free_ports(&mut self) -> Result<(), WiringError> {
        let listen = self.needs.listen.to_string();
        let mut wanted = vec![
            ("reply.smtp", self.needs.reply.clone(), ""),
            ("the internal listener", self.needs.internal.clone(), ""),
        ];
        if let Some(address) = listen.strip_prefix("inet:") {
            wanted.push(("milter.listen", address.to_owned(), "kms-gateway"));
        }
        let services = self.stage.postconf().services()?;
        let services: Vec<&postconf::Service> = services
            .iter()
            .filter(|service| service.kind == "inet" && !self.is_known_service(service))
            .collect();
        let processes = match ports::listeners() {
            Ok(processes) => processes,
            Err(error) => {
                self.stage.report.warn(format!(
                    "nothing is known of ports in use: {error} (package iproute2)"
                ));
                Vec::new()
            }
        };
        let master = ports::master(&self.queue);
        for (what, address, allowed) in wanted {
            let port = Port::parse(&address);
            let service = services.iter().find(|service| {
                service.name != address && Port::parse(&service.name).overlaps(&port)
            });
            if let Some(service) = service {
                return WiringError::refused(format!(
                    "{what}: {address} is in use: master.cf has the service {}; choose another port",
                    service.name
                ));
            }
            let process = processes.iter().find(|process| {
                process.port.overlaps(&port)
                    && !process.is_named(allowed)
                    && !process.is_process(&master)
            });
            if let Some(process) = process {
                return WiringError::refused(format!(
                    "{what}: {address} is in use by {}; end that, or choose another port",
                    match process.process.as_str() {
                        "" => "another process",
                        shown => shown,
                    }
                ));
            }
        }
        Ok(())
    }

    fn is_known_service(&self, service: &postconf::Service) -> bool {
        let key = format!("service:{}", service.key());
        self.kept.known(&key).is_some()
    }
}

/// Postfix's milters without ours.
struct Milters {
    /// Those of smtpd.
    smtpd: String,
    /// Ours among them, as main.cf has it.
    present: Option<String>,
    /// Those for local mail, as main.cf had them before ours had to be kept out.
    local_before: String,
    /// The same without ours.
    local: String,
}

// main.cf.
impl Installer {
    fn milters(&self) -> Result<Milters, WiringError> {
        let postconf = self.stage.postconf();
        let written = postconf.written("smtpd_milters")?;
        let (smtpd, present) = List::parse(&written).split(|milter| !self.is_our_milter(milter));
        let smtpd = smtpd.to_string();
        let mut local_before = postconf.written("non_smtpd_milters")?;
        if self.kept.is_ours("non_smtpd_milters", &local_before) {
            let before = self.kept.known("before:non_smtpd_milters");
            local_before = before.unwrap_or_default().to_owned();
        }
        let names = ["$smtpd_milters", "${smtpd_milters}", "$(smtpd_milters)"];
        let local = List::parse(&local_before)
            .map(|milter| names.contains(&milter).then(|| smtpd.clone()))
            .to_string();
        Ok(Milters {
            smtpd,
            present,
            local_before,
            local,
        })
    }

    /// Whether a milter is the gateway, where it is or where the last runs had it.
    fn is_our_milter(&self, milter: &str) -> bool {
        is_at(milter, &self.socket) || self.kept.all("socket").any(|socket| is_at(milter, socket))
    }

    fn wire_milter(&mut self, milters: &Milters) -> Result<(), WiringError> {
        let ours = self.needs.milter(&self.socket);
        // What the admin made of ours stays, if it still leads to the gateway.
        let edited = milters.present.as_ref().filter(|present| {
            is_at(present, &self.socket) && !self.kept.is_ours("milter", present)
        });
        let milter = edited.unwrap_or(&ours);
        let is_edge = self.needs.wiring == Wiring::Edge;
        let wanted = match (is_edge, milters.smtpd.as_str()) {
            (false, _) => milters.smtpd.clone(),
            (true, "") => milter.clone(),
            (true, others) => format!("{others}, {milter}"),
        };
        self.next.insert("milter".to_owned(), ours);
        self.next.insert("socket".to_owned(), self.socket.clone());
        if self.stage.postconf().written("smtpd_milters")? != wanted {
            let words = match is_edge {
                true => "main.cf: the gateway is the last milter of smtpd:",
                false => "main.cf: the gateway is no milter of smtpd:",
            };
            self.set_or_remove("smtpd_milters", &wanted, words)?;
            self.number_milters()?;
        }
        self.wire_local_milters(milters)
    }

    fn number_milters(&mut self) -> Result<(), WiringError> {
        let value = self.stage.postconf().value("smtpd_milters")?;
        for (number, milter) in List::parse(&value).elements().enumerate() {
            let number = number + 1;
            self.stage.report.say(format!("    {number}. {milter}"));
        }
        Ok(())
    }

    /// Keeps ours out of the milters for local mail.
    fn wire_local_milters(&mut self, milters: &Milters) -> Result<(), WiringError> {
        const PARAMETER: &str = "non_smtpd_milters";
        let wanted = match self.needs.wiring {
            Wiring::Edge => &milters.local,
            Wiring::Internal => &milters.local_before,
        };
        if self.stage.postconf().written(PARAMETER)? != *wanted {
            let change = set(PARAMETER, wanted);
            self.stage.change(
                "main.cf: non_smtpd_milters names the milters themselves, so that the gateway is \
                 none of them:",
                &change,
            )?;
        }
        if *wanted != milters.local_before {
            self.next.insert(PARAMETER.to_owned(), wanted.clone());
            self.next
                .insert(format!("before:{PARAMETER}"), milters.local_before.clone());
        }
        let value = self.stage.postconf().value(PARAMETER)?;
        if List::parse(&value)
            .elements()
            .any(|milter| is_at(milter, &self.socket))
        {
            return WiringError::refused(
                "non_smtpd_milters refers to smtpd_milters by another parameter, so that the \
                 gateway would be a milter of local mail too; write the milters into it themselves",
            );
        }
        Ok(())
    }

    /// Puts a map of ours before those that a parameter has.
    fn wire_main(&mut self, parameter: &str, why: &str, map: String) -> Result<(), WiringError> {
        let present = self.stage.postconf().written(parameter)?;
        let (others, _) = List::parse(&present).split(|map| !super::is_our_map(map));
        let wanted = match others.is_empty() {
            true => map,
            false => format!("{map}, {others}"),
        };
        if present != wanted {
            let words = format!("main.cf: {why}:");
            self.stage.change(words, &set(parameter, &wanted))?;
        }
        Ok(())
    }

    /// Parameters of the transport that its service can't override.
    fn wire_transport_settings(&mut self) -> Result<(), WiringError> {
        for setting in OF_TRANSPORT {
            let parameter = setting.parameter;
            let known = format!("main:{parameter}");
            if self.stage.postconf().sets(parameter)? {
                // Ours, or what the admin has made of it.
                if let Some(ours) = self.kept.known(&known) {
                    self.next.insert(known, ours.to_owned());
                }
                continue;
            }
            let words = format!(
                "main.cf: mail for the gateway does not wait its turn, whatever {} says:",
                setting.instead_of
            );
            self.stage.change(words, &set(parameter, setting.value))?;
            self.next.insert(known, setting.value.to_owned());
        }
        Ok(())
    }

    /// A probe of reject_unverified_recipient never waits for the gateway.
    fn wire_verification(&mut self) -> Result<(), WiringError> {
        if !verification::is_used(&self.stage.postconf())? {
            return self.take_out_map(verification::PARAMETER);
        }
        self.wire_main(
            verification::PARAMETER,
            "Postfix verifies recipients, and the gateway's address is always good",
            self.needs.map(verification::ROUTE),
        )
    }

    fn take_out_map(&mut self, parameter: &str) -> Result<(), WiringError> {
        let present = self.stage.postconf().written(parameter)?;
        let (others, ours) = List::parse(&present).split(|map| !super::is_our_map(map));
        match ours {
            None => Ok(()),
            Some(_) => {
                let words = format!("main.cf: {parameter} without the gateway:");
                super::restore_parameter(
                    &mut self.stage,
                    &self.kept,
                    parameter,
                    &others.to_string(),
                    words,
                )
            }
        }
    }

    /// A parameter that came with us goes with us.
    fn set_or_remove(
        &mut self,
        parameter: &str,
        value: &str,
        words: &str,
    ) -> Result<(), WiringError> {
        super::restore_parameter(&mut self.stage, &self.kept, parameter, value, words)
    }
}

/// What a service is for, and who signs what passes it.
fn purpose(service: &Service, signing: &str) -> String {
    match (service.role, signing) {
        (Role::Replies, "") => "for replies, signed by nobody".to_owned(),
        (Role::Replies, signing) => format!("for replies, signed by {signing}"),
        (Role::Internal, _) => "the internal listener".to_owned(),
        (Role::Transport, _) => "the way from the queue to it".to_owned(),
        (Role::Cleanup, _) => "into the queue, for both ports".to_owned(),
    }
}

fn set(parameter: &str, value: &str) -> Change {
    Change::Set {
        parameter: parameter.to_owned(),
        value: value.to_owned(),
    }
}

// master.cf.
impl Installer {
    /// The milters of the reply port, as main.cf writes them.
    fn signing(&self, milters: &Milters) -> Result<String, WiringError> {
        if self.signers.is_empty() {
            let signing = match milters.local.is_empty() {
                true => &milters.smtpd,
                false => &milters.local,
            };
            return Ok(signing.clone());
        }
        let named = List::parse(&format!("{} {}", milters.smtpd, milters.local));
        let mut wanted = Vec::new();
        for signer in self.signers.iter().filter(|signer| *signer != "none") {
            if self.is_our_milter(signer) {
                return WiringError::refused(format!(
                    "--signer {signer} is the gateway, which must not see its own replies"
                ));
            }
            if !signer.contains([':', '$']) {
                return WiringError::refused(format!(
                    "--signer {signer} is no milter; write it as smtpd_milters does, such as \
                     inet:localhost:8891"
                ));
            }
            // As it is named there, with its settings.
            let as_named = named.elements().find(|milter| is_at(milter, signer));
            wanted.push(as_named.unwrap_or(signer).to_owned());
        }
        Ok(wanted.join(", "))
    }

    fn wire_services(&mut self, milters: &Milters) -> Result<(), WiringError> {
        let signing = self.signing(milters)?;
        let filling = Filling {
            replies: self.needs.reply.clone(),
            internal: self.needs.internal.clone(),
            milter: self.socket.clone(),
            signers: signing.clone(),
            daemon_name: self.needs.daemon_name.clone(),
            postfix: super::version()?,
        };
        let keys = SERVICES.map(|service| service.key(&filling));
        for key in self.kept.named("service:") {
            if !keys.contains(&key) {
                super::drop_service(&mut self.stage, &self.kept, &key)?;
            }
        }
        for service in SERVICES {
            let key = service.key(&filling);
            // As postconf(1) writes it.
            let entry = self.stage.normal(&key, &service.entry(&filling))?;
            let purpose = purpose(service, &signing);
            self.wire_service(&key, &entry, &purpose)?;
            self.next.insert(format!("service:{key}"), entry);
        }
        self.require_no_loop()
    }

    fn wire_service(&mut self, key: &str, entry: &str, purpose: &str) -> Result<(), WiringError> {
        let change = Change::SetService {
            key: key.to_owned(),
            entry: entry.to_owned(),
        };
        let known = format!("service:{key}");
        let present = self.stage.postconf().entry(key)?;
        let Some(present) = present else {
            let words = format!("master.cf: the service {key}, {purpose}:");
            return self.stage.change(words, &change);
        };
        if present == entry {
            return Ok(());
        }
        if self.kept.is_ours(&known, &present) {
            let words = format!("master.cf: the service {key}, {purpose}, as it is now:");
            return self.stage.change(words, &change);
        }
        if self.kept.known(&known).is_some() {
            self.stage.report.warn(format!(
                "master.cf: the service {key} was edited and stays as it is; by itself it would \
                 be: {entry}"
            ));
            return Ok(());
        }
        WiringError::refused(format!(
            "master.cf has a service {key} that is not ours: {present}. Take it out or rename it, \
             or choose another port; nothing was changed"
        ))
    }

    fn require_no_loop(&self) -> Result<(), WiringError> {
        let name = format!("{}/inet/smtpd_milters", self.needs.reply);
        let overrides = self.stage.postconf().overrides(&name)?;
        let milters = overrides.get(&name).map_or("", String::as_str);
        let loops = List::parse(milters)
            .elements()
            .any(|milter| is_at(milter, &self.socket));
        match loops {
            false => Ok(()),
            true => WiringError::refused(
                "the milters of the reply port would contain the gateway, by a parameter that they \
                 refer to; name the signers by --signer",
            ),
        }
    }
}

// gateway.toml, and what else is to be known.
impl Installer {
    fn wire_gateway(&mut self) -> Result<(), WiringError> {
        for key in super::GATEWAY_KEYS {
            for kind in ["toml", "before"] {
                let name = format!("{kind}:{key}");
                if let Some(known) = self.kept.known(&name) {
                    self.next.insert(name, known.to_owned());
                }
            }
        }
        let maps = Maps::of(self.stage.postconf())?;
        let makers = copies::makers(&maps, &self.needs.addresses);
        match makers {
            Ok(makers) => {
                if let Some(maker) = makers.first() {
                    let words = format!("gateway.toml: the copies that {maker} makes are kept:");
                    self.want("milter.keep_bcc", "true", &words)?;
                }
            }
            Err(error) => self.stage.report.warn(format!(
                "copies of mail can't be looked for: {error}; where Postfix keeps copies, set \
                 milter.keep_bcc"
            )),
        }
        let delimiter = maps.value("recipient_delimiter").to_owned();
        self.want(
            "gateway.recipient_delimiter",
            &delimiter,
            "gateway.toml: recipient_delimiter is as in main.cf:",
        )
    }

    fn want(&mut self, key: &str, value: &str, words: &str) -> Result<(), WiringError> {
        let config = Config::load(&self.stage.staged(Changed::Gateway))?;
        let present = super::gateway_value(&config, key);
        if present == value {
            return Ok(());
        }
        let before = format!("before:{key}");
        let first = self.kept.known(&before).unwrap_or(&present).to_owned();
        self.next.insert(before, first);
        self.next.insert(format!("toml:{key}"), value.to_owned());
        self.stage.change_gateway(words, key, value)
    }

    fn wire_socket(&mut self) -> Result<(), WiringError> {
        let Some(directory) = &self.socket_directory else {
            return Ok(());
        };
        let owner = self.stage.postconf().value("mail_owner")?;
        if let Some(made) = self.kept.known("made") {
            self.next.insert("made".to_owned(), made.to_owned());
        }
        if directory.exists() {
            if let Some(warning) = directory.warning(&owner) {
                self.stage.report.warn(warning);
            }
            return Ok(());
        }
        let shown = directory.path().display().to_string();
        self.stage.report.say(format!(
            "the directory of the socket: {}",
            directory.typed(&owner)
        ));
        self.next.insert("made".to_owned(), shown);
        self.stage.count();
        Ok(())
    }

    fn explain_socket(&mut self) {
        if self.socket_directory.is_none() || self.needs.wiring == Wiring::Internal {
            return;
        }
        for name in &self.listeners.filtered {
            let how = match self.listeners.chrooted.contains(name) {
                true => format!("chrooted to {}:", self.queue),
                false => format!("not chrooted, and works in {}:", self.queue),
            };
            self.stage.report.say(format!(
                "smtpd service {name} is {how} it finds the socket as {}",
                self.socket
            ));
        }
    }

    /// What is the admin's to decide.
    fn give_warnings(&mut self) -> Result<(), WiringError> {
        if self.needs.wiring == Wiring::Edge {
            for name in &self.listeners.overriding {
                self.stage.report.say(format!(
                    "smtpd service {name} has smtpd_milters of its own, without the gateway: mail \
                     for the gateway that comes by it goes by the transport"
                ));
            }
        }
        let maps = Maps::of(self.stage.postconf())?;
        for note in super::site::notes(&maps) {
            self.stage.report.say(note);
        }
        for difference in super::site::warnings(&maps, &self.config, self.needs.wiring)? {
            self.stage.report.warn(difference.to_string());
        }
        Ok(())
    }
}

// The files themselves.
impl Installer {
    /// Before the first file changes, all that is needed to change it back is kept.
    fn go_live(&mut self) -> Result<(), WiringError> {
        let is_first = !self.kept.is_installed();
        for file in Changed::ALL {
            self.keep_original(file, is_first)?;
        }
        self.kept.plan(&self.next)?;
        if let Some(directory) = self.socket_directory.as_ref().filter(|own| !own.exists()) {
            let owner = self.stage.postconf().value("mail_owner")?;
            directory.make(&owner)?;
        }
        for file in [Changed::Gateway, Changed::Master, Changed::Main] {
            self.stage.put(file)?;
        }
        self.kept.complete()
    }

    fn keep_original(&mut self, file: Changed, is_first: bool) -> Result<(), WiringError> {
        let live = self.stage.live(file);
        if is_first {
            super::keep(&live, &self.kept.original(file))?;
        }
        let sum = format!("sum:{}", file.name());
        if is_first || self.kept.is_unedited(file, &live)? {
            self.next.insert(sum, sum_of(&self.stage.staged(file))?);
        } else {
            self.next.insert(sum, "edited".to_owned());
            self.next
                .insert(format!("edited:{}", file.name()), "yes".to_owned());
        }
        Ok(())
    }

    fn say_next(&mut self) {
        let config = self.config_file.display().to_string();
        let reload = super::reload(self.stage.postfix());
        let report = &mut self.stage.report;
        report.say("Done. Next:");
        report.say(format!("    kms-gateway --config {config} check"));
        report.say("    systemctl reload-or-restart kms-gateway");
        report.say(reload);
    }
}
