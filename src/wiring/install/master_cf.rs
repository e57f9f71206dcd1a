//! The changes of master.cf: the gateway's services, and the milters that sign at the reply
//! port.

use super::{installer::Installer, main_cf::Milters};
use crate::wiring::{
    WiringError,
    list::{List, is_at},
    postconf::Change,
    removing::drop_service,
    services::{Filling, Role, SERVICES, Service},
};

impl Installer {
    /// The milters of the reply port, as main.cf writes them.
    pub(super) fn signing(&self, milters: &Milters) -> Result<String, WiringError> {
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
            // A signer that main.cf names keeps its settings.
            let as_named = named.elements().find(|milter| is_at(milter, signer));
            wanted.push(as_named.unwrap_or(signer).to_owned());
        }
        Ok(wanted.join(", "))
    }

    pub(super) fn wire_services(&mut self, milters: &Milters) -> Result<(), WiringError> {
        let signing = self.signing(milters)?;
        let filling = Filling {
            replies: self.needs.reply.clone(),
            internal: self.needs.internal.clone(),
            milter: self.socket.clone(),
            signers: signing.clone(),
            daemon_name: self.needs.daemon_name.clone(),
            postfix: self.postfix,
        };
        let keys = SERVICES.map(|service| service.key(&filling));
        for key in self.kept.named("service:") {
            if !keys.contains(&key) {
                drop_service(&mut self.stage, &self.kept, &key)?;
            }
        }
        for service in SERVICES {
            let key = service.key(&filling);
            let entry = self.stage.normal(&key, &service.entry(&filling))?;
            let purpose = purpose(service, &signing);
            self.wire_service(&key, &entry, &purpose)?;
            self.next.insert(format!("service:{key}"), entry);
        }
        self.require_no_loop()
    }

    pub(super) fn wire_service(
        &mut self,
        key: &str,
        entry: &str,
        purpose: &str,
    ) -> Result<(), WiringError> {
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

    pub(super) fn require_no_loop(&self) -> Result<(), WiringError> {
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

/// The purpose of a service; for the reply port with its signers.
fn purpose(service: &Service, signing: &str) -> String {
    match (service.role, signing) {
        (Role::Replies, "") => "for replies, signed by no milter".to_owned(),
        (Role::Replies, signing) => format!("for replies, signed by {signing}"),
        (Role::Internal, _) => "the internal listener".to_owned(),
        (Role::Transport, _) => "the transport to the internal listener".to_owned(),
        (Role::Cleanup, _) => "cleanup for both ports".to_owned(),
    }
}
