//! The configuration file: what an operator can set, each key with its
//! default, and the errors that say which key is wrong and what to write.
//! Knows the types that keys are read into, and does nothing with them.

mod addresses;
mod edit;
mod error;
mod keys;
mod kms;
mod log_level;
mod values;

use std::{fs, net::SocketAddr, num::NonZeroU32, path::Path, path::PathBuf, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{
    mail::Address,
    policy::{self, throttle::Excess},
};

pub use self::error::ConfigError;
pub use self::kms::Kms;
pub use self::log_level::LogLevel;
pub use self::values::{
    DnsblZone, GatewayAddress, ListenAddress, LogFormat, Network, Period, StsTimeText,
    StsaPublicKeyText,
};

/// The whole configuration, one field a table of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which mail is the gateway's.
    pub gateway: Gateway,
    /// How Postfix reaches the gateway.
    #[serde(default)]
    pub milter: Milter,
    /// Where requests and keys are kept.
    #[serde(default)]
    pub store: Store,
    /// Where the master secret is.
    #[serde(default)]
    pub secrets: Secrets,
    /// An external key management system instead of the embedded one.
    #[serde(default)]
    pub kms: Kms,
    /// How replies reach Postfix.
    #[serde(default)]
    pub reply: Reply,
    /// Limits that the policy's rules apply.
    #[serde(default)]
    pub policy: Policy,
    /// DNS blocklists: rule `dnsbl`.
    #[serde(default)]
    pub dnsbl: Dnsbl,
    /// Whose word on SPF, DKIM and DMARC counts: rule `sender-authentication`.
    #[serde(default)]
    pub sender_authentication: SenderAuthentication,
    /// How much a sender may ask.
    #[serde(default)]
    pub throttle: Throttle,
    /// The KMC's own keys.
    #[serde(default)]
    pub kmc: Kmc,
    /// Update files of the STSA's.
    #[serde(default)]
    pub module_update: ModuleUpdate,
    /// Freshness and number of key load requests.
    #[serde(default)]
    pub key_load_file: KeyLoadFile,
    /// Work on requests and the hand-over of replies.
    #[serde(default)]
    pub worker: Worker,
    /// The audit log.
    #[serde(default)]
    pub audit: Audit,
    /// The log on standard error.
    #[serde(default)]
    pub log: Log,
    /// Metrics for Prometheus.
    #[serde(default)]
    pub metrics: Metrics,
}

/// `[gateway]`: which mail is the gateway's.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Every address that people write in To, aliases included; the first
    /// is the one that help texts name.
    pub addresses: Vec<GatewayAddress>,
    /// Postfix's `recipient_delimiter`: any of these characters ends the
    /// local part that counts. Empty, as in Postfix, by default.
    #[serde(default)]
    pub recipient_delimiter: String,
}

/// `[milter]`: how Postfix reaches the gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Milter {
    /// `inet:HOST:PORT` or `unix:PATH`, as in Postfix's `smtpd_milters`.
    pub listen: ListenAddress,
    /// `milter_macro_daemon_name` of the internal listener in master.cf.
    pub internal_daemon_name: String,
    /// Delete the gateway's recipients rather than discard the message, so
    /// that copies by `always_bcc` and its kin survive.
    pub keep_bcc: bool,
    /// Milter connections served at once; above Postfix's smtpd process limit.
    pub max_connections: usize,
    /// Bytes of memory for messages that come in, until they are on disk.
    pub max_memory: u64,
}

impl Default for Milter {
    fn default() -> Self {
        Self {
            listen: ListenAddress::default(),
            internal_daemon_name: "kms-gateway-internal".to_owned(),
            keep_bcc: false,
            max_connections: 1000,
            max_memory: 256 * 1024 * 1024,
        }
    }
}

/// The least `milter.max_memory` for messages of so many bytes: of the half that is
/// for content one message may take three quarters.
#[must_use]
pub const fn least_memory(max_message_bytes: u64) -> u64 {
    max_message_bytes.saturating_mul(4).saturating_add(1 << 20)
}

/// `[store]`: where requests and keys are kept.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The database file; its directory must belong to the gateway's user.
    pub path: PathBuf,
    /// Requests kept unanswered before new ones get 452.
    pub max_requests: u64,
    /// Bytes of unanswered requests kept before new ones get 452.
    pub max_bytes: u64,
    /// Bytes of the file system that are left to what was accepted: below that
    /// new requests get 452. 0 for none.
    pub min_free_bytes: u64,
    /// The part of the spool, in percent, that strangers' requests and their
    /// replies may hold: rule `crowded`. The rest is for modules, logins,
    /// authenticated mail and the site's own networks.
    pub strangers_percent: u8,
    /// The part that those may hold whose address was never answered.
    pub newcomers_percent: u8,
    /// The part that the strangers of one client network may hold.
    pub network_percent: u8,
    /// Commits without waiting for the disk: breaks the first promise, for
    /// the test that shows that the promise is kept otherwise.
    #[cfg(feature = "test-faults")]
    pub synchronous_off: bool,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/kms-gateway/gateway.sqlite3"),
            max_requests: 10_000,
            max_bytes: 512 * 1024 * 1024,
            min_free_bytes: 64 * 1024 * 1024,
            strangers_percent: 50,
            newcomers_percent: 10,
            network_percent: 5,
            #[cfg(feature = "test-faults")]
            synchronous_off: false,
        }
    }
}

/// `[secrets]`: where the master secret is. Exactly one place counts; with
/// none named it is the file `/etc/kms-gateway/master.secret`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// A file that only the gateway's user can read.
    pub master_secret_file: Option<PathBuf>,
    /// The name of a systemd credential (`LoadCredential=`).
    pub master_secret_credential: Option<String>,
    /// The name of an environment variable. The weakest of the three:
    /// the environment is inherited and shown by more tools than one expects.
    pub master_secret_environment: Option<String>,
}

/// `[reply]`: how replies reach Postfix.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reply {
    /// Postfix's milter-free port for replies.
    pub smtp: SocketAddr,
    /// Reverse path of replies; empty for the null reverse path (RFC 3834, 3.3).
    pub reverse_path: String,
    /// Addresses of one request that are answered, of a stranger's only the
    /// first; the rest is audited.
    pub max_targets: usize,
    /// Characters that come back of what follows the service code in the Subject
    /// of a request that may be forged.
    pub max_stranger_subject: usize,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            smtp: SocketAddr::from(([127, 0, 0, 1], 18025)),
            reverse_path: String::new(),
            max_targets: 5,
            max_stranger_subject: 256,
        }
    }
}

/// `[policy]`: limits that the rules apply.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Clients that are neither looked up in blocklists nor asked for
    /// authentication, and whose networks have no allowance: as `mynetworks`.
    pub trusted_networks: Vec<Network>,
    /// More `Received` fields than this are a loop: rule `hops`.
    pub max_received: usize,
    /// Bytes of a message, headers included: rule `size`.
    pub max_message_bytes: u64,
    /// Bytes of attachments that the service does not expect: rule `size`.
    pub max_unexpected_attachment_bytes: u64,
    /// Header fields of a message: rule `malformed`.
    pub max_headers: usize,
    /// Bytes of all header fields: rule `malformed`.
    pub max_header_bytes: usize,
}

impl Default for Policy {
    fn default() -> Self {
        let settings = policy::Settings::default();
        let trusted = settings.trusted_networks.iter();
        Self {
            trusted_networks: trusted.copied().map(Network).collect(),
            max_received: settings.max_received,
            max_message_bytes: settings.max_message_bytes,
            max_unexpected_attachment_bytes: settings.max_unexpected_attachment_bytes,
            max_headers: settings.max_headers,
            max_header_bytes: settings.max_header_bytes,
        }
    }
}

/// `[dnsbl]`: DNS blocklists, asked about clients with mail for the gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dnsbl {
    /// As in Postfix's `postscreen_dnsbl_sites`; none by default.
    pub zones: Vec<DnsblZone>,
    /// From which score on a client is refused.
    pub threshold: i32,
    /// The name server to ask; without one those of /etc/resolv.conf.
    pub resolver: Option<SocketAddr>,
    /// The longest that all questions about one client take together.
    pub time_limit: Period,
    /// After which time a zone that was switched off is tried again.
    pub recheck: Period,
}

impl Default for Dnsbl {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            threshold: 1,
            resolver: None,
            time_limit: LONGEST_LOOK_UP,
            recheck: Period::from_secs(60),
        }
    }
}

/// More than any module needs, fewer than its allowance would be in a day.
const DEFAULT_MAX_ISSUES: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);

/// A shorter `audit.keep` is a mistyped unit, unless the operator says otherwise.
const SHORTEST_AUDIT: Period = Period::from_secs(30 * 24 * 3600);

/// Whether a character can part an address from its extension.
fn is_delimiter(c: char) -> bool {
    c.is_ascii_graphic() && !c.is_ascii_alphanumeric() && c != '@'
}

/// Postfix waits 10 s for the answer to RCPT, by main.cf.part.
const LONGEST_LOOK_UP: Period = Period::from_secs(8);

/// `[sender_authentication]`: whose word on SPF, DKIM and DMARC counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct SenderAuthentication {
    /// The authserv-ids that the site's own verifiers write into
    /// `Authentication-Results` (RFC 8601); without any the rule is off.
    pub authserv_ids: Vec<String>,
    /// Whether only mail is answered that SPF or DKIM passed in alignment
    /// with its author, or DMARC.
    pub require: bool,
}

/// `[throttle]`: how much a sender may ask: rules `flood` and `blocked`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// Requests of one sender that are done at once.
    pub at_once: u32,
    /// The time after which one more is done; the others wait.
    pub every: Period,
    /// More requests of one sender than this, done or waiting, and it is blocked.
    pub block_above: u32,
    /// How long a block lasts at least: until the sender is within its
    /// allowance again.
    pub block_for: Period,
    /// How many times as much a whole client network may ask, or a domain whose
    /// mail is authenticated. What is above only waits.
    pub network_factor: u32,
    /// How many times as long as `every` it takes until one more mail goes to an
    /// address that strangers have answered; `at_once` of them go at once.
    pub target_factor: u32,
    /// Requests that are done at once of all addresses together that never
    /// asked before.
    pub newcomers_at_once: u32,
    /// The time after which one more of those is done.
    pub newcomers_every: Period,
}

impl Default for Throttle {
    fn default() -> Self {
        let period = |time: SignedDuration| Period::from_secs(time.as_secs().unsigned_abs());
        let policy::Throttle {
            sender,
            many,
            target,
            newcomers,
        } = policy::Throttle::default();
        let target_factor = target.every.as_secs() / sender.every.as_secs().max(1);
        let (block_above, block_for) = match sender.excess {
            Excess::Block { above, lasting } => (above, lasting),
            Excess::Defer | Excess::Refuse { .. } => (u32::MAX, SignedDuration::ZERO),
        };
        Self {
            at_once: sender.at_once,
            every: period(sender.every),
            block_above,
            block_for: period(block_for),
            network_factor: many,
            target_factor: u32::try_from(target_factor).unwrap_or(1),
            newcomers_at_once: newcomers.at_once,
            newcomers_every: period(newcomers.every),
        }
    }
}

/// `[metrics]`: what Prometheus may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where; nowhere by default.
    pub listen: Option<SocketAddr>,
}

/// `[kmc]`: the KMC's own keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kmc {
    /// For how long the end of the last key that serves is warned of.
    pub warn_before_expiry: Period,
}

impl Default for Kmc {
    fn default() -> Self {
        Self {
            warn_before_expiry: Period::from_secs(60 * 24 * 3600),
        }
    }
}

/// `[module_update]`: whose update files are taken, and who is told of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ModuleUpdate {
    /// The STSA's keys; without any no update file is taken.
    pub stsa_keys: Vec<StsaKeySetting>,
    /// The STSA's addresses: only they are told which modules were added and
    /// revoked.
    pub stsa_addresses: Vec<GatewayAddress>,
}

/// A key of the STSA's, and for how long it is trusted.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct StsaKeySetting {
    /// A point on P-384, SEC1 uncompressed, in upper-case hex.
    pub public_key: StsaPublicKeyText,
    /// From when on, as records write times: yyyymmddThhmmssZ.
    pub valid_from: StsTimeText,
    /// From when on no longer.
    pub valid_until: StsTimeText,
}

/// `[key_load_file]`: freshness of a VKLOAD.REQ.1, judged at the time when
/// the gateway accepted the message.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct KeyLoadFile {
    /// How old a request may be.
    pub max_age: Period,
    /// How far ahead of our clock a request may be.
    pub max_ahead: Period,
    /// So many key load files a module is issued at most …
    pub max_issues: NonZeroU32,
    /// … within this time.
    pub max_issues_within: Period,
}

impl Default for KeyLoadFile {
    fn default() -> Self {
        Self {
            max_age: Period::from_secs(24 * 3600),
            max_ahead: Period::from_secs(5 * 60),
            max_issues: DEFAULT_MAX_ISSUES,
            max_issues_within: Period::from_secs(24 * 3600),
        }
    }
}

/// `[worker]`: work on requests and the hand-over of replies.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Requests worked on at once.
    pub parallel_requests: usize,
    /// Replies handed to Postfix at once.
    pub parallel_deliveries: usize,
    /// How long after the death of a gateway another begins anew what it was at.
    /// A living one renews its leases, however long an attempt takes.
    pub lease: Period,
    /// Wait before the first repetition; doubled each time.
    pub first_retry: Period,
    /// The longest wait between repetitions.
    pub longest_retry: Period,
    /// After this time a request that can't be served gets `EServiceFailed`,
    /// and a reply that Postfix doesn't take is given up.
    pub give_up: Period,
    /// The sender of a request that waits longer than this for its answer gets
    /// one notice, `Deferred`.
    pub notice_after: Period,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            parallel_requests: 2,
            parallel_deliveries: 4,
            lease: Period::from_secs(120),
            first_retry: Period::from_secs(5),
            longest_retry: Period::from_secs(15 * 60),
            give_up: Period::from_secs(5 * 24 * 3600),
            notice_after: Period::from_secs(15 * 60),
        }
    }
}

/// `[audit]`: the audit log.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How long entries are kept. Older ones are cut once a day, and an
    /// authenticated anchor is left in their place.
    pub keep: Period,
    /// Whether `keep` may be shorter than 30 days. A mistyped unit (`400s` for
    /// `400d`) would cut the log at the next start, for good.
    pub keep_less_than_30_days: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            keep: Period::from_secs(400 * 24 * 3600),
            keep_less_than_30_days: false,
        }
    }
}

/// `[log]`: the log on standard error.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or a list with levels
    /// for libraries too.
    pub level: LogLevel,
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::info(),
            format: LogFormat::Text,
        }
    }
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// The first thing that is wrong: the file, the line, the key, what was
    /// found and what to write instead.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::unreadable(path, &source))?;
        Self::parse(path, &text)
    }

    /// Reads and checks the text of a configuration; `path` is for errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let deserializer = toml::Deserializer::parse(text)
            .map_err(|error| ConfigError::syntax(path, text, &error))?;
        let config: Self = serde_path_to_error::deserialize(deserializer)
            .map_err(|error| ConfigError::key(path, text, &error))?;
        config.check_values(path)?;
        Ok(config)
    }

    /// What the types of single keys can't say.
    fn check_values(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, problem: &str, remedy| Err(ConfigError::value(path, key, problem, remedy));
        if self.gateway.addresses.is_empty() {
            return refuse(
                "gateway.addresses",
                "the list is empty",
                "name at least one address, such as \"gateway@kms.example.org\"",
            );
        }
        if self.secrets.places() > 1 {
            return refuse(
                "secrets",
                "more than one place is named for the master secret",
                "keep one of master_secret_file, master_secret_credential and master_secret_environment",
            );
        }
        self.check_mail(path)?;
        self.check_counts(path)?;
        self.check_throttle(path)?;
        self.check_dnsbl(path)?;
        self.check_authentication(path)?;
        self.check_times(path)?;
        self.check_audit(path)?;
        self.check_metrics(path)?;
        self.check_addresses(path)?;
        self.check_kms(path)
    }

    fn check_mail(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, problem: &str, remedy| Err(ConfigError::value(path, key, problem, remedy));
        let delimiter = &self.gateway.recipient_delimiter;
        if let Some(c) = delimiter.chars().find(|c| !is_delimiter(*c)) {
            return refuse(
                "gateway.recipient_delimiter",
                &format!("{c:?} can't part an address from its extension"),
                "write what postconf -h recipient_delimiter prints, such as \"+\"",
            );
        }
        let reverse_path = &self.reply.reverse_path;
        if !reverse_path.is_empty() && Address::parse(reverse_path).is_err() {
            return refuse(
                "reply.reverse_path",
                &format!("{reverse_path:?} is no mail address"),
                "write an address, or \"\" for the null reverse path",
            );
        }
        let stsa = &self.module_update.stsa_addresses;
        if let Some(own) = stsa.iter().find(|own| self.gateway.addresses.contains(own)) {
            return refuse(
                "module_update.stsa_addresses",
                &format!("{own} is the gateway's own address"),
                "name the address that the STSA reads",
            );
        }
        Ok(())
    }

    fn check_counts(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, problem: &str, remedy| Err(ConfigError::value(path, key, problem, remedy));
        let policy = &self.policy;
        let zeros = [
            ("milter.max_connections", self.milter.max_connections == 0),
            ("store.max_requests", self.store.max_requests == 0),
            ("store.max_bytes", self.store.max_bytes == 0),
            ("reply.max_targets", self.reply.max_targets == 0),
            // Even mail of this machine has one.
            ("policy.max_received", policy.max_received == 0),
            ("policy.max_message_bytes", policy.max_message_bytes == 0),
            ("policy.max_headers", policy.max_headers == 0),
            ("policy.max_header_bytes", policy.max_header_bytes == 0),
            (
                "worker.parallel_requests",
                self.worker.parallel_requests == 0,
            ),
            (
                "worker.parallel_deliveries",
                self.worker.parallel_deliveries == 0,
            ),
        ];
        for (key, is_zero) in zeros {
            if is_zero {
                return refuse(key, "it is 0", "write a number from 1");
            }
        }
        let percentages = [
            ("store.strangers_percent", self.store.strangers_percent),
            ("store.newcomers_percent", self.store.newcomers_percent),
            ("store.network_percent", self.store.network_percent),
        ];
        for (key, value) in percentages {
            if !(1..=100).contains(&value) {
                return refuse(
                    key,
                    &format!("it is {value}"),
                    "write a number from 1 to 100",
                );
            }
        }
        Ok(())
    }

    fn check_throttle(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, problem: &str, remedy| Err(ConfigError::value(path, key, problem, remedy));
        let throttle = &self.throttle;
        for (key, count) in [
            ("throttle.at_once", throttle.at_once),
            ("throttle.network_factor", throttle.network_factor),
            ("throttle.target_factor", throttle.target_factor),
            ("throttle.newcomers_at_once", throttle.newcomers_at_once),
        ] {
            if count == 0 {
                return refuse(key, "it is 0", "write a number from 1");
            }
        }
        if throttle.block_above < throttle.at_once {
            return refuse(
                "throttle.block_above",
                "it is less than throttle.at_once",
                "write a larger number",
            );
        }
        Ok(())
    }

    fn check_authentication(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, problem: &str, remedy| Err(ConfigError::value(path, key, problem, remedy));
        let ids = &self.sender_authentication.authserv_ids;
        if ids.iter().any(|id| id.trim().is_empty()) {
            return refuse(
                "sender_authentication.authserv_ids",
                "an authserv-id is empty",
                "write what your verifier puts first into Authentication-Results, or remove it",
            );
        }
        if self.sender_authentication.require && self.sender_authentication.authserv_ids.is_empty()
        {
            return refuse(
                "sender_authentication.require",
                "it is true, and nobody's word counts, so that no mail would be answered",
                "name your verifier's authserv-id in sender_authentication.authserv_ids",
            );
        }
        Ok(())
    }

    fn check_times(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, problem: &str, remedy| Err(ConfigError::value(path, key, problem, remedy));
        let (worker, key_load_file) = (&self.worker, &self.key_load_file);
        let times = [
            ("worker.lease", worker.lease, "\"30s\""),
            ("worker.first_retry", worker.first_retry, "\"30s\""),
            ("worker.longest_retry", worker.longest_retry, "\"30s\""),
            ("worker.give_up", worker.give_up, "\"5d\""),
            ("key_load_file.max_age", key_load_file.max_age, "\"24h\""),
            (
                "key_load_file.max_issues_within",
                key_load_file.max_issues_within,
                "\"24h\"",
            ),
        ];
        for (key, period, example) in times {
            if period.as_std() < Duration::from_secs(1) {
                return Err(ConfigError::value(
                    path,
                    key,
                    "it is shorter than a second",
                    format_args!("write a time such as {example}"),
                ));
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

    fn check_audit(&self, path: &Path) -> Result<(), ConfigError> {
        let audit = &self.audit;
        if audit.keep < SHORTEST_AUDIT && !audit.keep_less_than_30_days {
            return Err(ConfigError::value(
                path,
                "audit.keep",
                format_args!(
                    "{} is less than 30 days, and older entries are cut for good at the next start",
                    audit.keep
                ),
                "write a longer time such as \"400d\", or audit.keep_less_than_30_days = true if it \
                 is meant",
            ));
        }
        Ok(())
    }

    fn check_metrics(&self, path: &Path) -> Result<(), ConfigError> {
        if let Some(listen) = self
            .metrics
            .listen
            .filter(|listen| !listen.ip().is_loopback())
        {
            return Err(ConfigError::value(
                path,
                "metrics.listen",
                format_args!("{listen} is not on loopback"),
                "write an address such as \"127.0.0.1:9890\", and let a proxy ask from elsewhere",
            ));
        }
        Ok(())
    }

    fn check_dnsbl(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse =
            |key, problem: &str, remedy| Err(ConfigError::value(path, key, problem, remedy));
        let dnsbl = &self.dnsbl;
        if dnsbl.threshold < 1 {
            return refuse(
                "dnsbl.threshold",
                "it is less than 1, so that everybody would be refused",
                "write a number from 1",
            );
        }
        let limit = dnsbl.time_limit;
        if limit < Period::from_secs(1) || limit > LONGEST_LOOK_UP {
            return refuse(
                "dnsbl.time_limit",
                "it is not from 1 s to 8 s; Postfix waits 10 s",
                "write a time such as \"8s\"",
            );
        }
        if dnsbl.recheck < Period::from_secs(1) {
            return refuse(
                "dnsbl.recheck",
                "it is shorter than a second",
                "write a time such as \"1min\"",
            );
        }
        for (number, zone) in dnsbl.zones.iter().enumerate() {
            let mut named_before = dnsbl.zones.iter().take(number);
            let differs = |own: &&DnsblZone| {
                let said = |own: &DnsblZone| (own.ipv4, own.ipv6, own.health);
                own.site.zone == zone.site.zone
                    && (said(own) != said(zone)
                        || own.site.zone.public() != zone.site.zone.public())
            };
            if named_before.any(|own| differs(&own)) {
                return refuse(
                    "dnsbl.zones",
                    &format!(
                        "{} is named twice with different public_name, ipv4, ipv6 or health",
                        zone.site.zone
                    ),
                    "give it the same each time",
                );
            }
        }
        Ok(())
    }
}

impl Secrets {
    /// How many places are named.
    #[must_use]
    pub fn places(&self) -> usize {
        [
            self.master_secret_file.is_some(),
            self.master_secret_credential.is_some(),
            self.master_secret_environment.is_some(),
        ]
        .into_iter()
        .filter(|named| *named)
        .count()
    }

    /// Whether the master secret is in a file, the one that is named or the
    /// default.
    #[must_use]
    pub fn is_in_file(&self) -> bool {
        self.master_secret_credential.is_none() && self.master_secret_environment.is_none()
    }
}

#[cfg(test)]
mod tests;
