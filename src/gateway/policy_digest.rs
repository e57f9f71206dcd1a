//! The digest of a gateway's policy. Gateways of one database that judge or answer alike have the
//! same one. Each can then tell that another is configured otherwise.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{config::Config, policy::RULES};

/// Settings that may differ from gateway to gateway, as sections or as single keys. They say how
/// the gateway fits to its machine and to its own Postfix: names, ports, files, name servers, sizes.
/// The rest decides which mail is answered, how, and how long its traces are kept.
const LOCAL: &[&str] = &[
    "gateway.node",
    "milter",
    "store.path",
    "store.postgresql",
    // Below it new mail waits, and no mail is judged.
    "store.min_free_bytes",
    "secrets",
    // A gateway may reach the one system by another socket. `digest` adds whether there is one.
    "kms",
    "reply.smtp",
    "dnsbl.resolver",
    "dnsbl.time_limit",
    "dnsbl.recheck",
    "worker.parallel_requests",
    "worker.parallel_deliveries",
    "kmc.warn_before_expiry",
    "log",
    "metrics",
];

/// Characters of a digest that people see.
const SHOWN: usize = 16;

/// The digest of this configuration and of the program's rules, in hexadecimal.
pub(crate) fn policy_digest(config: &Config) -> String {
    // A configuration that was read can be written. The keys of an object are in order.
    let mut settings = serde_json::to_value(config).unwrap_or_default();
    LOCAL.iter().for_each(|key| remove(&mut settings, key));
    let policy = json!({
        "settings": settings,
        "has_external_kms": config.kms.socket.is_some(),
        "rules": RULES.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(),
    });
    hex::encode(Sha256::digest(policy.to_string()))
}

/// The beginning of a digest, for people.
pub(crate) fn shown(digest: &str) -> &str {
    digest.get(..SHOWN).unwrap_or(digest)
}

/// Removes a section or a key.
fn remove(settings: &mut Value, key: &str) {
    let (table, name) = match key.split_once('.') {
        Some((section, name)) => (settings.get_mut(section), name),
        None => (Some(settings), key),
    };
    if let Some(table) = table.and_then(Value::as_object_mut) {
        table.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn config(rest: &str) -> Config {
        let text = format!("gateway.addresses = [\"kms@example.org\"]\n{rest}\n");
        Config::parse(Path::new("gateway.toml"), &text).unwrap()
    }

    fn digest(rest: &str) -> String {
        policy_digest(&config(rest))
    }

    #[test]
    fn what_fits_a_gateway_to_its_machine_does_not_count() {
        for own in [
            "gateway.node = \"mx2\"",
            "milter.listen = \"inet:127.0.0.1:9999\"",
            "store.path = \"/elsewhere\"",
            "store.postgresql.hosts = [\"/run/postgresql\"]",
            "secrets.master_secret_file = \"/elsewhere\"",
            "reply.smtp = \"127.0.0.1:99\"",
            "dnsbl.resolver = \"127.0.0.1:53\"",
            "worker.parallel_requests = 9",
            "kms.answer_timeout = \"9s\"",
            "log.level = \"debug\"",
            "metrics.listen = \"127.0.0.1:99\"",
        ] {
            assert_eq!(digest(own), digest(""), "{own}");
        }
        let elsewhere = digest("kms.socket = \"/elsewhere\"");
        assert_eq!(elsewhere, digest("kms.socket = \"/run/kms\""));
    }

    #[test]
    fn what_judges_or_answers_mail_counts() {
        for other in [
            "gateway.recipient_delimiter = \"+\"",
            "store.strangers_percent = 7",
            "kms.socket = \"/run/kms\"",
            "reply.max_targets = 7",
            "policy.max_received = 7",
            "dnsbl.zones = [\"bl.example\"]",
            "sender_authentication.authserv_ids = [\"mx.example.org\"]",
            "throttle.at_once = 7",
            "key_load_file.max_age = \"7h\"",
            "worker.give_up = \"7d\"",
            "audit.keep = \"77d\"",
        ] {
            assert_ne!(digest(other), digest(""), "{other}");
        }
    }

    #[test]
    fn every_key_that_may_differ_is_one() {
        let config = config("");
        for key in LOCAL {
            assert!(config.value_of(key).is_some(), "{key}");
        }
    }

    #[test]
    fn people_see_its_beginning() {
        let digest = digest("");
        assert_eq!(digest.len(), 64);
        assert_eq!(shown(&digest).len(), SHOWN);
        assert!(digest.starts_with(shown(&digest)));
        assert_eq!(shown("short"), "short");
    }
}
