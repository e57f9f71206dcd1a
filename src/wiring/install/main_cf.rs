//! The changes of main.cf: the milter, the transport of the gateway's addresses and its
//! settings, and the transport of probes.

use super::installer::Installer;
use crate::wiring::{
    WiringError,
    list::{List, is_at},
    needs::Wiring,
    postconf::Change,
    removing::{is_our_map, restore_parameter, take_out},
    services::OF_TRANSPORT,
    verification,
};

/// The milters in main.cf.
pub(super) struct Milters {
    /// `smtpd_milters` without the gateway.
    pub(super) smtpd: String,
    /// The gateway's element of `smtpd_milters`, as main.cf has it.
    present: Option<String>,
    /// `non_smtpd_milters` before the installer changed it.
    local_before: String,
    /// `non_smtpd_milters` without the gateway.
    pub(super) local: String,
}

impl Installer {
    pub(super) fn milters(&self) -> Result<Milters, WiringError> {
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

    /// Whether a milter is the gateway, at its present or a former socket.
    pub(super) fn is_our_milter(&self, milter: &str) -> bool {
        is_at(milter, &self.socket) || self.kept.all("socket").any(|socket| is_at(milter, socket))
    }

    pub(super) fn wire_milter(&mut self, milters: &Milters) -> Result<(), WiringError> {
        let ours = self.needs.milter(&self.socket);
        // The admin's version of the element stays, if it still leads to the gateway.
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
            restore_parameter(&mut self.stage, &self.kept, "smtpd_milters", &wanted, words)?;
            self.number_milters()?;
        }
        self.wire_local_milters(milters)
    }

    pub(super) fn number_milters(&mut self) -> Result<(), WiringError> {
        let value = self.stage.postconf().value("smtpd_milters")?;
        for (number, milter) in List::parse(&value).elements().enumerate() {
            let number = number + 1;
            self.stage.report.say(format!("    {number}. {milter}"));
        }
        Ok(())
    }

    /// Keeps the gateway out of the milters for local mail.
    pub(super) fn wire_local_milters(&mut self, milters: &Milters) -> Result<(), WiringError> {
        const PARAMETER: &str = "non_smtpd_milters";
        let wanted = match self.needs.wiring {
            Wiring::Edge => &milters.local,
            Wiring::Internal => &milters.local_before,
        };
        if self.stage.postconf().written(PARAMETER)? != *wanted {
            let change = Change::set(PARAMETER, wanted);
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

    /// Puts a map of the gateway before the other maps of a parameter.
    pub(super) fn wire_main(
        &mut self,
        parameter: &str,
        why: &str,
        map: String,
    ) -> Result<(), WiringError> {
        let present = self.stage.postconf().written(parameter)?;
        let (others, _) = List::parse(&present).split(|map| !is_our_map(map));
        let wanted = match others.is_empty() {
            true => map,
            false => format!("{map}, {others}"),
        };
        if present != wanted {
            let words = format!("main.cf: {why}:");
            self.stage.change(words, &Change::set(parameter, &wanted))?;
        }
        Ok(())
    }

    /// Parameters of the transport that its service can't override.
    pub(super) fn wire_transport_settings(&mut self) -> Result<(), WiringError> {
        for setting in OF_TRANSPORT {
            let parameter = setting.parameter;
            let known = format!("main:{parameter}");
            if self.stage.postconf().sets(parameter)? {
                // The installer's value, or the admin's edit of it.
                if let Some(ours) = self.kept.known(&known) {
                    self.next.insert(known, ours.to_owned());
                }
                continue;
            }
            let words = format!(
                "main.cf: mail for the gateway does not wait its turn, whatever {} says:",
                setting.instead_of
            );
            self.stage
                .change(words, &Change::set(parameter, setting.value))?;
            self.next.insert(known, setting.value.to_owned());
        }
        Ok(())
    }

    /// Keeps a probe of reject_unverified_recipient from waiting for the gateway.
    pub(super) fn wire_verification(&mut self) -> Result<(), WiringError> {
        if !verification::is_used(&self.stage.postconf())? {
            return take_out(
                &mut self.stage,
                &self.kept,
                verification::PARAMETER,
                is_our_map,
            );
        }
        self.wire_main(
            verification::PARAMETER,
            "Postfix verifies recipients, and the gateway's address is always good",
            self.needs.map(verification::ROUTE),
        )
    }
}
