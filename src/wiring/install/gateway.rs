//! The rest of an installation: keys of gateway.toml, the directory of the socket, and
//! warnings about settings that the admin decides.

use super::installer::Installer;
use crate::{
    config::Config,
    wiring::{
        WiringError, copies,
        gateway_toml::{GATEWAY_KEYS, gateway_value},
        kept::Changed,
        maps::Maps,
        needs::Wiring,
        site,
    },
};

impl Installer {
    pub(super) fn wire_gateway(&mut self, maps: &Maps) -> Result<(), WiringError> {
        for key in GATEWAY_KEYS {
            for kind in ["toml", "before"] {
                let name = format!("{kind}:{key}");
                if let Some(known) = self.kept.known(&name) {
                    self.next.insert(name, known.to_owned());
                }
            }
        }
        let makers = copies::makers(maps, &self.needs.addresses);
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

    pub(super) fn want(&mut self, key: &str, value: &str, words: &str) -> Result<(), WiringError> {
        let config = Config::load(&self.stage.staged(Changed::Gateway))?;
        let present = gateway_value(&config, key);
        if present == value {
            return Ok(());
        }
        let before = format!("before:{key}");
        let first = self.kept.known(&before).unwrap_or(&present).to_owned();
        self.next.insert(before, first);
        self.next.insert(format!("toml:{key}"), value.to_owned());
        self.stage.change_gateway(words, key, value)
    }

    pub(super) fn wire_socket(&mut self) -> Result<(), WiringError> {
        let Some(directory) = &self.socket_directory else {
            return Ok(());
        };
        let owner = self.stage.postconf().value("mail_owner")?;
        if let Some(made) = self.kept.known("made") {
            self.next.insert("made".to_owned(), made.to_owned());
        }
        if directory.path().exists() {
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

    pub(super) fn explain_socket(&mut self) {
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

    /// Warns of settings that the admin decides.
    pub(super) fn give_warnings(&mut self, maps: &Maps) {
        if self.needs.wiring == Wiring::Edge {
            for name in &self.listeners.overriding {
                self.stage.report.say(format!(
                    "smtpd service {name} has smtpd_milters of its own, without the gateway: mail \
                     for the gateway that comes by it goes by the transport"
                ));
            }
        }
        for note in site::notes(maps) {
            self.stage.report.say(note);
        }
        let wiring = self.needs.wiring;
        for difference in site::warnings(maps, &self.config, wiring, &self.listeners) {
            self.stage.report.warn(difference.to_string());
        }
    }
}
