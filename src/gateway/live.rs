//! The parts of a running gateway that a reload replaces, made from the
//! configuration.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    GatewayError,
    environment::{blocklists, gateway_addresses, policy_settings},
    installation::installation,
    policy_digest::policy_digest,
};
use crate::{
    config::{Config, Period},
    dnsbl::Blocklists,
    kms::Kms,
    milter::Rules,
    policy::dnsbl,
    store::NoticeSettings,
    worker::{Answering, InjectionSettings, ReplySettings},
};

/// The parts that a reload replaces while the gateway runs.
pub(super) struct Live {
    pub(super) kms: Arc<dyn Kms>,
    pub(super) rules: watch::Sender<Arc<Rules>>,
    pub(super) answering: watch::Sender<Arc<Answering>>,
    pub(super) delivering: watch::Sender<InjectionSettings>,
    pub(super) audit_keep: watch::Sender<Period>,
    /// Tells the other gateways of the database which policy is in force.
    pub(super) policy_digest: watch::Sender<String>,
    /// The error in the newest configuration, if it has one.
    pub(super) bad_reload: watch::Sender<Option<String>>,
}

impl Live {
    pub(super) fn new(config: &Config, kms: Arc<dyn Kms>) -> Result<Self, GatewayError> {
        let new = Reloadable::new(config);
        Ok(Self {
            rules: watch::Sender::new(asking(new.rules, &new.dnsbl)?),
            answering: watch::Sender::new(answering(new.reply, kms.clone())),
            delivering: watch::Sender::new(new.injection),
            audit_keep: watch::Sender::new(new.audit_keep),
            policy_digest: watch::Sender::new(policy_digest(config)),
            bad_reload: watch::Sender::new(None),
            kms,
        })
    }

    /// Replaces everything, or nothing if the new configuration does not work.
    pub(super) fn replace(&self, config: &Config) -> Result<(), GatewayError> {
        let new = Reloadable::new(config);
        self.rules.send_replace(asking(new.rules, &new.dnsbl)?);
        self.answering
            .send_replace(answering(new.reply, self.kms.clone()));
        self.delivering.send_replace(new.injection);
        self.audit_keep.send_replace(new.audit_keep);
        self.policy_digest.send_replace(policy_digest(config));
        Ok(())
    }
}

/// The settings that a reload replaces.
#[derive(Debug)]
pub(super) struct Reloadable {
    /// Has no blocklists yet: [`asking`] adds them.
    rules: Rules,
    dnsbl: dnsbl::Settings,
    reply: ReplySettings,
    injection: InjectionSettings,
    audit_keep: Period,
}

impl Reloadable {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            rules: Rules {
                blocklists: None,
                addresses: gateway_addresses(config),
                policy: policy_settings(config),
                throttle: config.throttle.allowances(),
                notice: NoticeSettings {
                    reverse_path: config.reply.reverse_path.clone(),
                    max_stranger_subject: config.reply.max_stranger_subject,
                },
                internal_daemon_name: config.milter.internal_daemon_name.clone(),
                keep_bcc: config.milter.keep_bcc,
            },
            dnsbl: config.dnsbl.clone(),
            reply: ReplySettings {
                max_stranger_subject: config.reply.max_stranger_subject,
                reverse_path: config.reply.reverse_path.clone(),
                installation: installation(config),
            },
            injection: InjectionSettings {
                server: config.reply.smtp,
                helo_name: helo_name(config),
            },
            audit_keep: config.audit.keep,
        }
    }
}

/// The domain of the first gateway address, a name that Postfix knows.
fn helo_name(config: &Config) -> String {
    config.gateway.addresses.first().map_or_else(
        || "localhost".to_owned(),
        |address| address.0.domain().to_owned(),
    )
}

/// Adds the blocklists to the rules.
fn asking(rules: Rules, dnsbl: &dnsbl::Settings) -> Result<Arc<Rules>, GatewayError> {
    let blocklists = blocklists(dnsbl)?;
    for warning in blocklists.iter().flat_map(Blocklists::warnings) {
        tracing::warn!("{warning}");
    }
    Ok(Arc::new(Rules {
        blocklists: blocklists.map(Arc::new),
        ..rules
    }))
}

fn answering(settings: ReplySettings, kms: Arc<dyn Kms>) -> Arc<Answering> {
    let settings = Arc::new(settings);
    Arc::new(Answering { kms, settings })
}
