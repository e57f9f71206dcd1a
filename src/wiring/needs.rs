//! The needs of this gateway: read from gateway.toml, and checked against the limits of
//! Postfix's syntax and of this machine.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::{
    WiringError,
    ports::Port,
    postconf::{Postconf, Service},
};
use crate::config::{Config, ListenAddress};

/// The way by which mail reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wiring {
    /// The gateway is a milter of every smtpd that has no smtpd_milters of its own.
    Edge,
    /// The gateway sees only its own mail, which comes out of the queue.
    Internal,
}

impl Wiring {
    /// The word for it on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Internal => "internal",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Edge, Self::Internal]
            .into_iter()
            .find(|wiring| wiring.as_str() == text)
    }
}

/// The needs of one gateway.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    pub(super) wiring: Wiring,
    pub(super) addresses: Vec<String>,
    pub(super) listen: ListenAddress,
    pub(super) daemon_name: String,
    /// The address at which Postfix takes replies.
    pub(super) reply: String,
    /// The address of the internal listener, to which the queue sends the gateway's mail.
    pub(super) internal: String,
}

impl Needs {
    pub(super) fn read(
        config: &Config,
        wiring: Wiring,
        internal: &str,
    ) -> Result<Self, WiringError> {
        let addresses = config.gateway.addresses.iter();
        let needs = Self {
            wiring,
            addresses: addresses.map(|address| address.0.to_string()).collect(),
            listen: config.milter.listen.clone(),
            daemon_name: config.milter.internal_daemon_name.clone(),
            reply: config.reply.smtp.to_string(),
            internal: internal.to_owned(),
        };
        needs.can_be_written()?;
        Ok(needs)
    }

    fn can_be_written(&self) -> Result<(), WiringError> {
        for address in &self.addresses {
            // These characters have a meaning in an inline: map or in main.cf.
            if address.contains(|c: char| "\"'={}$,\\".contains(c) || c.is_whitespace()) {
                return WiringError::refused(format!(
                    "gateway.addresses: {address} has characters that no inline: map takes; write \
                     the map yourself, as postfix/README.md says"
                ));
            }
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.daemon_name.is_empty() || !self.daemon_name.chars().all(is_plain) {
            return WiringError::refused(format!(
                "milter.internal_daemon_name is {}; write letters, digits, dots and hyphens only",
                self.daemon_name
            ));
        }
        if Port::parse(&self.internal) == Port::parse(&self.reply) {
            return WiringError::refused(format!(
                "reply.smtp and --internal are both {}; choose another port",
                self.reply
            ));
        }
        Ok(())
    }

    /// Refuses ports at which this Postfix could not listen.
    pub(super) fn fit(&self, postconf: &Postconf) -> Result<(), WiringError> {
        let protocols = postconf.value("inet_protocols")?;
        for (what, address) in [("reply.smtp", &self.reply), ("--internal", &self.internal)] {
            let port = Port::parse(address);
            if !port.is_on_loopback() {
                return WiringError::refused(format!(
                    "{what} is {address}, which is not on loopback: this adds a gateway to the \
                     Postfix of the same machine; postfix/README.md says what to write elsewhere"
                ));
            }
            let protocol = if port.is_ipv6() { "ipv6" } else { "ipv4" };
            // Postfix would not start with a service at such an address.
            if !protocols.contains("all") && !protocols.contains(protocol) {
                return WiringError::refused(format!(
                    "{what} is {address}, and Postfix uses no {protocol} (inet_protocols): write \
                     another address"
                ));
            }
        }
        Ok(())
    }

    /// The transport and next hop of mail for the gateway.
    pub(super) fn route(&self) -> String {
        format!("kms-gateway:{}", Port::parse(&self.internal).next_hop())
    }

    /// The map that sends mail for the gateway to the internal listener.
    pub(super) fn transport_map(&self) -> String {
        self.map(&self.route())
    }

    /// An `inline:` map with the same value for each of the gateway's addresses.
    pub(super) fn map(&self, value: &str) -> String {
        let entries = self.addresses.iter();
        let entries: Vec<String> = entries
            .map(|address| format!("{{{address} = {value}}}"))
            .collect();
        format!("inline:{{ {} }}", entries.join(", "))
    }

    /// The gateway's element in smtpd_milters of main.cf.
    pub(super) fn milter(&self, socket: &str) -> String {
        format!(
            "{{ {socket}, default_action=accept, connect_timeout=2s, command_timeout=10s, \
             content_timeout=60s }}"
        )
    }
}

/// The smtpd services of master.cf that are not the gateway's.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Services that use smtpd_milters of main.cf.
    pub(super) filtered: Vec<String>,
    /// Services that have smtpd_milters of their own.
    pub(super) overriding: Vec<String>,
    /// Services in `filtered` that are chrooted.
    pub(super) chrooted: Vec<String>,
}

impl Listeners {
    pub(super) fn read(
        postconf: &Postconf,
        is_ours: impl Fn(&Service) -> bool,
    ) -> Result<Self, WiringError> {
        // master(5): `-` meant y before compatibility_level 1.
        let default = match postconf.value("compatibility_level")?.starts_with('0') {
            true => "y",
            false => "n",
        };
        let mut found = Self::default();
        for service in postconf.services()? {
            if service.program != "smtpd" || is_ours(&service) {
                continue;
            }
            let own = format!("{}/smtpd_milters", service.key());
            if !postconf.overrides(&own)?.is_empty() {
                found.overriding.push(service.name);
                continue;
            }
            found.filtered.push(service.name.clone());
            if service.chroot.replace('-', default) != "n" {
                found.chrooted.push(service.name);
            }
        }
        Ok(found)
    }
}

/// The milter's socket as smtpd finds it. smtpd works in the queue directory, chrooted or
/// not, so that a path relative to it serves both.
pub(super) fn milter_socket(
    needs: &Needs,
    queue: &str,
    listeners: &Listeners,
) -> Result<String, WiringError> {
    let listen = &needs.listen;
    let path = match listen {
        ListenAddress::Inet(address) => {
            if address.starts_with("0.0.0.0:") || address.starts_with("[::]:") {
                return WiringError::refused(format!(
                    "milter.listen is {listen}: name the address that Postfix is to connect to, \
                     such as inet:127.0.0.1:8890"
                ));
            }
            return Ok(listen.to_string());
        }
        ListenAddress::Unix(path) => resolved(path),
    };
    let queue = resolved(Path::new(queue));
    if let Ok(inside) = path.strip_prefix(&queue) {
        return Ok(format!("unix:{}", inside.display()));
    }
    if needs.wiring == Wiring::Edge && !listeners.chrooted.is_empty() {
        let queue = queue.display();
        return WiringError::refused(format!(
            "milter.listen is {listen}, which smtpd can't see where it is chrooted to {queue}: {} \
             (master.cf, column chroot). Write unix:{queue}/kms-gateway/milter, or take these out \
             of the chroot",
            listeners.chrooted.join(" ")
        ));
    }
    Ok(format!("unix:{}", path.display()))
}

/// The path without links and dots, as far as it exists.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|ancestor| {
        let real = ancestor.canonicalize().ok()?;
        Some((real, path.strip_prefix(ancestor).ok()?))
    });
    let Some((mut real, rest)) = there else {
        return path.to_owned();
    };
    for component in rest.components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            Component::Normal(name) => real.push(name),
            _ => {}
        }
    }
    real
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::wiring::services::OF_TRANSPORT;

    /// The template for wiring by hand has the same entries as the installer writes.
    #[test]
    fn the_part_for_main_cf_is_what_is_installed() {
        let template = include_str!("../../postfix/gateway.toml");
        let config = Config::parse(Path::new("gateway.toml"), template).unwrap();
        let needs = Needs::read(&config, Wiring::Edge, "127.0.0.1:18026").unwrap();
        let lines = [
            format!(
                "smtpd_milters = {}",
                needs.milter(&needs.listen.to_string())
            ),
            format!("transport_maps = {}", needs.transport_map()),
        ];
        let settings = OF_TRANSPORT.map(|own| format!("{} = {}", own.parameter, own.value));
        let expected: Vec<String> = lines.into_iter().chain(settings).collect();
        let part = include_str!("../../postfix/main.cf.part").replace("\n ", " ");
        let written: Vec<String> = part
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(written, expected);
    }
}
