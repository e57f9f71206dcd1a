//! Refuses addresses that are in use.

use super::installer::Installer;
use crate::wiring::{
    WiringError,
    ports::{self, Port},
    postconf::Service,
};

impl Installer {
    /// Refuses an address at which another service of master.cf or another process
    /// listens. This Postfix may listen there, and the gateway at the milter's port.
    pub(super) fn require_free_ports(&mut self) -> Result<(), WiringError> {
        let listen = self.needs.listen.to_string();
        let mut wanted = vec![
            ("reply.smtp", self.needs.reply.clone(), ""),
            ("the internal listener", self.needs.internal.clone(), ""),
        ];
        if let Some(address) = listen.strip_prefix("inet:") {
            wanted.push(("milter.listen", address.to_owned(), "kms-gateway"));
        }
        let services = self.stage.postconf().services()?;
        let is_known = |service: &Service| {
            let key = format!("service:{}", service.key());
            self.kept.known(&key).is_some()
        };
        let services: Vec<&Service> = services
            .iter()
            .filter(|service| service.kind == "inet" && !is_known(service))
            .collect();
        let processes = match ports::listeners() {
            Ok(processes) => processes,
            Err(error) => {
                self.stage.report.warn(format!(
                    "ports in use can't be looked for: {error}; install iproute2, which has ss"
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
}
