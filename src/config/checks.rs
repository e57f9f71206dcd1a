//! Refuses values that are of the right type and yet can't be meant.

use std::time::Duration;

use super::{
    Config,
    error::{Checked, refuse},
};
use crate::{
    mail::Address,
    policy::dnsbl::{self, ConfiguredSite},
    time::Period,
};

/// A shorter `audit.keep` is a mistyped unit, unless the operator says otherwise.
const SHORTEST_AUDIT: Period = Period::from_secs(30 * 24 * 3600);

/// The longest `kms.acceptance_timeout`. Postfix waits that long at the end of
/// each message, and so does the client.
const LONGEST_ACCEPTANCE: Period = Period::from_secs(2);

const SHORTEST_WAIT: Duration = Duration::from_millis(10);

const SECOND: Period = Period::from_secs(1);

impl Config {
    /// Refuses the first value that can't be meant.
    pub(super) fn check(&self) -> Checked {
        self.check_gateway()?;
        self.check_store()?;
        self.check_secrets()?;
        self.check_reply()?;
        self.check_counts()?;
        self.check_throttle()?;
        self.check_dnsbl()?;
        self.check_authentication()?;
        self.check_times()?;
        self.check_audit()?;
        self.check_metrics()?;
        self.check_addresses()?;
        self.check_kms()
    }

    fn check_gateway(&self) -> Checked {
        if self.gateway.addresses.is_empty() {
            return refuse(
                "gateway.addresses",
                "the list is empty",
                "name at least one address, such as \"gateway@kms.example.org\"",
            );
        }
        let delimiter = &self.gateway.recipient_delimiter;
        match delimiter.chars().find(|c| !is_delimiter(*c)) {
            Some(c) => refuse(
                "gateway.recipient_delimiter",
                format_args!("{c:?} can't part an address from its extension"),
                "write what postconf -h recipient_delimiter prints, such as \"+\"",
            ),
            None => Ok(()),
        }
    }

    /// Without PostgreSQL nothing of its table counts.
    fn check_store(&self) -> Checked {
        let Some(postgresql) = &self.store.postgresql else {
            return Ok(());
        };
        if postgresql.hosts.is_empty() {
            return refuse(
                "store.postgresql.hosts",
                "the list is empty",
                "name a server such as \"db1.example\", or the directory of its socket, such as \
                 \"/run/postgresql\"",
            );
        }
        if !postgresql.are_hosts_alike() {
            return refuse(
                "store.postgresql.hosts",
                "it names servers and directories of sockets",
                "name either, since TLS is for all servers and for no socket",
            );
        }
        for (key, name) in [
            ("store.postgresql.database", &postgresql.database),
            ("store.postgresql.user", &postgresql.user),
        ] {
            if name.is_empty() || name.contains('\0') {
                return refuse(
                    key,
                    format_args!("{name:?} can't be a name"),
                    "write a name such as \"kms-gateway\"",
                );
            }
        }
        Ok(())
    }

    fn check_secrets(&self) -> Checked {
        if self.secrets.places() > 1 {
            return refuse(
                "secrets",
                "more than one place is named for the master secret",
                "keep one of master_secret_file, master_secret_credential and master_secret_environment",
            );
        }
        Ok(())
    }

    fn check_reply(&self) -> Checked {
        let reverse_path = &self.reply.reverse_path;
        if !reverse_path.is_empty() && Address::parse(reverse_path).is_err() {
            return refuse(
                "reply.reverse_path",
                format_args!("{reverse_path:?} is no mail address"),
                "write an address, or \"\" for the null reverse path",
            );
        }
        let stsa = &self.module_update.stsa_addresses;
        match stsa.iter().find(|own| self.gateway.addresses.contains(own)) {
            Some(own) => refuse(
                "module_update.stsa_addresses",
                format_args!("{own} is the gateway's own address"),
                "name the address that the STSA reads",
            ),
            None => Ok(()),
        }
    }

    fn check_counts(&self) -> Checked {
        let (policy, store, worker) = (&self.policy, &self.store, &self.worker);
        let zeros = [
            ("milter.max_connections", self.milter.max_connections == 0),
            ("store.max_requests", store.max_requests == 0),
            ("store.max_bytes", store.max_bytes == 0),
            ("reply.max_targets", self.reply.max_targets == 0),
            // Even mail of this machine has one.
            ("policy.max_received", policy.max_received == 0),
            ("policy.max_message_bytes", policy.max_message_bytes == 0),
            ("policy.max_headers", policy.max_headers == 0),
            ("policy.max_header_bytes", policy.max_header_bytes == 0),
            ("worker.parallel_requests", worker.parallel_requests == 0),
            (
                "worker.parallel_deliveries",
                worker.parallel_deliveries == 0,
            ),
        ];
        refuse_zeros(zeros)?;
        for (key, value) in [
            ("store.strangers_percent", store.strangers_percent),
            ("store.newcomers_percent", store.newcomers_percent),
            ("store.network_percent", store.network_percent),
        ] {
            if !(1..=100).contains(&value) {
                return refuse(
                    key,
                    format_args!("it is {value}"),
                    "write a number from 1 to 100",
                );
            }
        }
        Ok(())
    }

    fn check_throttle(&self) -> Checked {
        let throttle = &self.throttle;
        refuse_zeros([
            ("throttle.at_once", throttle.at_once == 0),
            ("throttle.network_factor", throttle.network_factor == 0),
            ("throttle.target_factor", throttle.target_factor == 0),
            (
                "throttle.newcomers_at_once",
                throttle.newcomers_at_once == 0,
            ),
        ])?;
        if throttle.block_above < throttle.at_once {
            return refuse(
                "throttle.block_above",
                "it is less than throttle.at_once",
                "write a larger number",
            );
        }
        Ok(())
    }

    fn check_dnsbl(&self) -> Checked {
        let dnsbl = &self.dnsbl;
        if dnsbl.threshold < 1 {
            return refuse(
                "dnsbl.threshold",
                "it is less than 1, so that everybody would be refused",
                "write a number from 1",
            );
        }
        if dnsbl.time_limit < SECOND || dnsbl.time_limit > dnsbl::Settings::LONGEST_LOOK_UP {
            return refuse(
                "dnsbl.time_limit",
                "it is not from 1 s to 8 s; Postfix waits 10 s",
                "write a time such as \"8s\"",
            );
        }
        if dnsbl.recheck < SECOND {
            return refuse(
                "dnsbl.recheck",
                "it is shorter than a second",
                "write a time such as \"1min\"",
            );
        }
        for (number, site) in dnsbl.zones.iter().enumerate() {
            let mut before = dnsbl.zones.iter().take(number);
            if before.any(|own| is_other_of_same_zone(own, site)) {
                return refuse(
                    "dnsbl.zones",
                    format_args!(
                        "{} is named twice with different public_name, ipv4, ipv6 or health",
                        site.site.zone
                    ),
                    "give it the same each time",
                );
            }
        }
        Ok(())
    }

    fn check_authentication(&self) -> Checked {
        let authentication = &self.sender_authentication;
        let ids = &authentication.authserv_ids;
        if ids.iter().any(|id| id.trim().is_empty()) {
            return refuse(
                "sender_authentication.authserv_ids",
                "an authserv-id is empty",
                "write what your verifier puts first into Authentication-Results, or remove it",
            );
        }
        if authentication.require && ids.is_empty() {
            return refuse(
                "sender_authentication.require",
                "it is true, but no authserv_ids are configured, so that no mail would be answered",
                "name your verifier's authserv-id in sender_authentication.authserv_ids",
            );
        }
        Ok(())
    }

    fn check_times(&self) -> Checked {
        let (worker, key_load_file) = (&self.worker, &self.key_load_file);
        for (key, period, example) in [
            ("worker.lease", worker.lease, "30s"),
            ("worker.first_retry", worker.first_retry, "30s"),
            ("worker.longest_retry", worker.longest_retry, "30s"),
            ("worker.give_up", worker.give_up, "5d"),
            ("key_load_file.max_age", key_load_file.max_age, "24h"),
            (
                "key_load_file.max_issues_within",
                key_load_file.max_issues_within,
                "24h",
            ),
        ] {
            if period < SECOND {
                return refuse(
                    key,
                    "it is shorter than a second",
                    format_args!("write a time such as {example:?}"),
                );
            }
        }
        if worker.longest_retry < worker.first_retry {
            return refuse(
                "worker.longest_retry",
                "it is shorter than worker.first_retry",
                "write a longer time",
            );
        }
        Ok(())
    }

    fn check_audit(&self) -> Checked {
        let audit = &self.audit;
        if audit.keep < SHORTEST_AUDIT && !audit.keep_less_than_30_days {
            return refuse(
                "audit.keep",
                format_args!(
                    "{} is less than 30 days, and older entries are cut for good at the next start",
                    audit.keep
                ),
                "write a longer time such as \"400d\", or audit.keep_less_than_30_days = true if it \
                 is meant",
            );
        }
        Ok(())
    }

    fn check_metrics(&self) -> Checked {
        match self.metrics.listen {
            Some(listen) if !listen.ip().is_loopback() => refuse(
                "metrics.listen",
                format_args!("{listen} is not on loopback"),
                "write an address such as \"127.0.0.1:9890\", and let a proxy ask from elsewhere",
            ),
            _ => Ok(()),
        }
    }

    /// Without an external system nothing of `[kms]` counts.
    fn check_kms(&self) -> Checked {
        let kms = &self.kms;
        let Some(socket) = &kms.socket else {
            return Ok(());
        };
        if !socket.is_absolute() {
            return refuse(
                "kms.socket",
                "it is no absolute path",
                "write a path such as \"/run/kms/kms.sock\"",
            );
        }
        for (key, wait) in [
            ("kms.connect_timeout", kms.connect_timeout),
            ("kms.request_timeout", kms.request_timeout),
            ("kms.answer_timeout", kms.answer_timeout),
            ("kms.acceptance_timeout", kms.acceptance_timeout),
        ] {
            if wait.as_std() < SHORTEST_WAIT {
                return refuse(
                    key,
                    "it is shorter than 10 ms",
                    "write a time such as \"1s\"",
                );
            }
        }
        if kms.acceptance_timeout > LONGEST_ACCEPTANCE {
            return refuse(
                "kms.acceptance_timeout",
                "it is longer than 2 s, for which each message would wait",
                "write a time such as \"1s\"",
            );
        }
        if !self.module_update.stsa_keys.is_empty() {
            return refuse(
                "module_update.stsa_keys",
                "the external key management system that kms.socket names judges update files",
                "remove them here, and have that system trust them",
            );
        }
        Ok(())
    }
}

fn refuse_zeros(keys: impl IntoIterator<Item = (&'static str, bool)>) -> Checked {
    match keys.into_iter().find(|(_, is_zero)| *is_zero) {
        Some((key, _)) => refuse(key, "it is 0", "write a number from 1"),
        None => Ok(()),
    }
}

/// Whether a character can separate an address from its extension.
fn is_delimiter(c: char) -> bool {
    c.is_ascii_graphic() && !c.is_ascii_alphanumeric() && c != '@'
}

/// Whether both name one zone and say different things of it.
fn is_other_of_same_zone(one: &ConfiguredSite, other: &ConfiguredSite) -> bool {
    let properties = |own: &ConfiguredSite| {
        (
            own.ipv4,
            own.ipv6,
            own.health,
            own.site.zone.public().to_owned(),
        )
    };
    one.site.zone == other.site.zone && properties(one) != properties(other)
}
