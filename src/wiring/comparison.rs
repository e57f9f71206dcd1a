//! Compares one Postfix with the gateway's needs: milters, transport, services, tables and
//! gateway.toml.

use super::{
    Difference, Wiring, WiringError, copies,
    kept::Kept,
    list::{List, endpoint, is_at, milter_setting},
    maps::Maps,
    needs::{Listeners, Needs, milter_socket},
    ports::{self, Port},
    postconf::Postconf,
    services::{Filling, OF_TRANSPORT, Role, SERVICES, Service, Value},
    site, verification,
};
use crate::config::Config;

const INSTALL: &str = "kms-gateway postfix install mends that";

pub(super) struct Comparison<'a> {
    pub(super) postconf: Postconf,
    pub(super) maps: Maps,
    pub(super) config: &'a Config,
    pub(super) needs: Needs,
    pub(super) filling: Filling,
    pub(super) found: Vec<Difference>,
    /// The admin's smtpd services.
    pub(super) listeners: Listeners,
    /// The reason if smtpd can't reach the milter's socket.
    pub(super) unreachable: Option<String>,
}

impl Comparison<'_> {
    fn differs(&mut self, found: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Difference::new(found, remedy));
    }

    pub(super) fn find_milter(&mut self, queue: &str) {
        match milter_socket(&self.needs, queue, &self.listeners) {
            Ok(socket) => self.filling.milter = socket,
            Err(error) => {
                self.filling.milter = self.needs.listen.to_string();
                self.unreachable = Some(error.to_string());
            }
        }
    }

    /// The wiring of the gateway; none if nothing in Postfix names it.
    pub(super) fn wiring(&self, kept: &Kept) -> Result<Option<Wiring>, WiringError> {
        if kept.is_installed() {
            let known = kept.known("option:wiring").and_then(Wiring::parse);
            return Ok(Some(known.unwrap_or(Wiring::Edge)));
        }
        if self.is_in("smtpd_milters") {
            return Ok(Some(Wiring::Edge));
        }
        for service in SERVICES {
            if self.postconf.entry(&service.key(&self.filling))?.is_some() {
                return Ok(Some(Wiring::Internal));
            }
        }
        Ok(None)
    }

    /// Whether the gateway is among a parameter's milters.
    fn is_in(&self, parameter: &str) -> bool {
        List::parse(self.maps.value(parameter))
            .elements()
            .any(|milter| is_at(milter, &self.filling.milter))
    }

    /// Compares everything. A part that can't be read is a difference too, and the others
    /// are compared all the same.
    pub(super) fn compare(&mut self) {
        if let Some(why) = self.unreachable.take() {
            self.differs(why, INSTALL);
        }
        self.compare_milters();
        self.compare_part(Self::compare_transport);
        self.compare_transport_settings();
        for service in SERVICES {
            self.compare_part(|this| this.compare_service(service));
        }
        self.compare_part(Self::compare_verification);
        self.compare_part(Self::compare_gateway);
        if let Err(error) = self.needs.fit(&self.postconf) {
            self.differs(error.to_string(), "then kms-gateway postfix install");
        }
        let wiring = self.needs.wiring;
        let warnings = site::warnings(&self.maps, self.config, wiring, &self.listeners);
        self.found.extend(warnings);
    }

    /// Compares a part, and notes if it can't be read.
    fn compare_part(&mut self, compare: impl FnOnce(&mut Self) -> Result<(), WiringError>) {
        let Err(error) = compare(self) else { return };
        let difference = site::unreadable(&error);
        if !self.found.contains(&difference) {
            self.found.push(difference);
        }
    }

    fn compare_milters(&mut self) {
        if self.is_in("non_smtpd_milters") {
            self.differs(
                "main.cf: non_smtpd_milters names the gateway: it would see mail that is already \
                 in the queue, its own replies too",
                INSTALL,
            );
        }
        if self.needs.wiring == Wiring::Internal {
            return;
        }
        let milters = List::parse(self.maps.value("smtpd_milters"));
        let all: Vec<&str> = milters.elements().collect();
        let place = all
            .iter()
            .position(|milter| is_at(milter, &self.filling.milter));
        let Some(ours) = place.and_then(|place| all.get(place)) else {
            let socket = self.filling.milter.clone();
            self.differs(
                format!("main.cf: smtpd_milters lacks the gateway ({socket})"),
                INSTALL,
            );
            return;
        };
        let action = match milter_setting(ours, "default_action") {
            Some(action) => action,
            None => self.maps.value("milter_default_action").to_owned(),
        };
        if action != "accept" {
            self.differs(
                format!(
                    "main.cf: smtpd_milters: the gateway has default_action={action}: while it is \
                     down Postfix would take no mail at all"
                ),
                "write default_action=accept into its braces",
            );
        }
        if place != all.len().checked_sub(1) {
            self.differs(
                "main.cf: smtpd_milters: a milter stands after the gateway: it could refuse mail \
                 that the gateway has taken, and the gateway does not see what it adds",
                INSTALL,
            );
        }
    }

    fn compare_transport(&mut self) -> Result<(), WiringError> {
        let route = self.needs.route();
        for address in self.needs.addresses.clone() {
            let hit = self
                .maps
                .find("transport_maps", &[&address.to_lowercase()])?;
            let found = match hit {
                Some(hit) if hit.value == route => continue,
                Some(hit) => format!(
                    "main.cf: transport_maps sends {address} to {} ({}), and not to {route}",
                    hit.value, hit.map
                ),
                None => format!("main.cf: transport_maps has nothing for {address}"),
            };
            self.differs(found, INSTALL);
        }
        Ok(())
    }

    /// Parameters of the transport that its service can't override.
    fn compare_transport_settings(&mut self) {
        for setting in OF_TRANSPORT {
            let effective = match self.maps.value(setting.parameter) {
                "" => self.maps.value(setting.instead_of),
                own => own,
            };
            if effective != setting.value {
                self.differs(
                    format!(
                        "main.cf: {} is {effective} for the gateway's transport: its mail waits",
                        setting.instead_of
                    ),
                    format!("postconf -e '{} = {}'", setting.parameter, setting.value),
                );
            }
        }
    }

    /// Compares the effective parameters of a service, from its own `-o` or from main.cf.
    fn compare_service(&mut self, service: &Service) -> Result<(), WiringError> {
        let key = service.key(&self.filling);
        if self.postconf.entry(&key)?.is_none() {
            let purpose = service.purpose.trim_end_matches('.');
            self.differs(
                format!("master.cf lacks the service {key}: {purpose}"),
                INSTALL,
            );
            return Ok(());
        }
        let own = self.postconf.own_overrides(&key)?;
        let mut inherited = Vec::new();
        for wanted in service.overrides() {
            if wanted.since > self.filling.postfix {
                continue;
            }
            let value = wanted.value.filled(&self.filling);
            match own.get(&format!("{key}/{}", wanted.parameter)) {
                Some(present) => self.compare_override(
                    &key,
                    service.role,
                    wanted.parameter,
                    wanted.value,
                    present,
                )?,
                None if same(self.maps.value(wanted.parameter), &value) => {}
                None => inherited.push(wanted.parameter),
            }
        }
        if !inherited.is_empty() {
            let are = inherited.join(", ");
            self.differs(
                format!("master.cf: the service {key} must override what main.cf says: {are}"),
                format!("{INSTALL}; {WHY}"),
            );
        }
        Ok(())
    }

    fn compare_override(
        &mut self,
        key: &str,
        role: Role,
        parameter: &str,
        wanted: Value,
        present: &str,
    ) -> Result<(), WiringError> {
        let value = wanted.filled(&self.filling);
        let socket = self.filling.milter.clone();
        match wanted {
            Value::Signers => {
                let expanded = self.postconf.overrides(&format!("{key}/{parameter}"))?;
                let milters = expanded.into_values().next().unwrap_or_default();
                if List::parse(&milters).elements().any(|milter| endpoint(milter) == socket) {
                    self.differs(
                        format!("master.cf: the service {key} has the gateway among its milters: it would see its own replies"),
                        format!("name the signers alone: postconf -P '{key}/{parameter}=…'"),
                    );
                }
            }
            Value::Milter => {
                let milters = List::parse(present);
                let insists = milters.elements().any(|milter| {
                    is_at(milter, &socket)
                        && milter_setting(milter, "default_action").as_deref() == Some("tempfail")
                });
                if !insists {
                    self.differs(
                        format!("master.cf: the service {key} ({}) has {parameter}={present}: mail could bypass the gateway", role.as_str()),
                        format!("postconf -P '{key}/{parameter}={value}'"),
                    );
                }
            }
            _ if same(present, &value) => {}
            _ => self.differs(
                format!("master.cf: the service {key} has {parameter}={present}, and needs {parameter}={value}"),
                format!("postconf -P '{key}/{parameter}={value}'"),
            ),
        }
        Ok(())
    }

    fn compare_verification(&mut self) -> Result<(), WiringError> {
        if !verification::is_used(&self.postconf)? {
            return Ok(());
        }
        for address in self.needs.addresses.clone() {
            if !verification::is_excepted(&self.maps, &address.to_lowercase())? {
                self.differs(
                    format!(
                        "main.cf: reject_unverified_recipient probes {address}: after a probe while \
                         the gateway is down, Postfix refuses its mail for hours"
                    ),
                    INSTALL,
                );
            }
        }
        Ok(())
    }

    fn compare_gateway(&mut self) -> Result<(), WiringError> {
        let config = self.config;
        if !config.milter.keep_bcc {
            let makers = copies::makers(&self.maps, &self.needs.addresses)?;
            if let Some(maker) = makers.first() {
                self.differs(
                    format!("gateway.toml: milter.keep_bcc is false: the copies that {maker} makes are lost"),
                    "kms-gateway config set milter.keep_bcc true",
                );
            }
        }
        let theirs = self.maps.value("recipient_delimiter").to_owned();
        let ours = &config.gateway.recipient_delimiter;
        if theirs != *ours {
            self.differs(
                format!(
                    "gateway.toml: gateway.recipient_delimiter is \"{ours}\", and main.cf has \
                     \"{theirs}\""
                ),
                format!("kms-gateway config set gateway.recipient_delimiter '{theirs}'"),
            );
        }
        Ok(())
    }

    pub(super) fn notes(&self, queue: &str) -> Vec<String> {
        let mut notes = site::notes(&self.maps);
        notes.extend(self.unread(queue));
        notes
    }

    /// Ports of master.cf that a running Postfix has not read yet.
    fn unread(&self, queue: &str) -> Vec<String> {
        let master = ports::master(queue);
        let listeners = ports::listeners().unwrap_or_default();
        if !listeners
            .iter()
            .any(|listener| listener.is_process(&master))
        {
            return Vec::new();
        }
        let silent = [&self.needs.reply, &self.needs.internal]
            .into_iter()
            .filter(|address| {
                let port = Port::parse(address);
                !listeners
                    .iter()
                    .any(|listener| listener.port.overlaps(&port))
            });
        silent
            .map(|address| {
                format!("Postfix runs and does not listen at {address} yet; postfix reload")
            })
            .collect()
    }
}

const WHY: &str = "postfix/README.md says why";

/// Whether two values mean the same to Postfix.
fn same(one: &str, other: &str) -> bool {
    List::parse(one)
        .elements()
        .eq(List::parse(other).elements())
}
