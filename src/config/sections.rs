//! The sections of the configuration file, each key with its default. The rules'
//! sections are the policy's own types.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    GatewayAddress, ListenAddress, LogFormat, LogLevel, NodeName, StsTimeText, StsaPublicKeyText,
};
use crate::{
    kms::{KeyLoadFileSettings, RemoteSettings},
    policy::{self, Authentication, Limits, Throttle, dnsbl},
    store::StoreSettings,
    time::Period,
};

/// The whole configuration, one field for each section of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The gateway's own addresses.
    pub(crate) gateway: Gateway,
    /// The port by which Postfix reaches the gateway.
    #[serde(default)]
    pub(crate) milter: Milter,
    /// The database and the bounds of the spool.
    #[serde(default)]
    pub(crate) store: StoreSettings,
    /// The place of the master secret.
    #[serde(default)]
    pub(crate) secrets: Secrets,
    /// An external key management system instead of the embedded one.
    #[serde(default)]
    pub(crate) kms: RemoteSettings,
    /// The port by which replies reach Postfix, and their form.
    #[serde(default)]
    pub(crate) reply: Reply,
    /// Limits that the policy's rules apply.
    #[serde(default)]
    pub(crate) policy: Limits,
    /// DNS blocklists: rule `dnsbl`.
    #[serde(default)]
    pub(crate) dnsbl: dnsbl::Settings,
    /// The verifiers of SPF, DKIM and DMARC: rule `sender-authentication`.
    #[serde(default)]
    pub(crate) sender_authentication: Authentication,
    /// The allowances of senders: rules `flood` and `blocked`.
    #[serde(default)]
    pub(crate) throttle: Throttle,
    /// The KMC's own keys.
    #[serde(default)]
    pub(crate) kmc: Kmc,
    /// The STSA's update files.
    #[serde(default)]
    pub(crate) module_update: ModuleUpdate,
    /// Freshness and number of key load requests.
    #[serde(default)]
    pub(crate) key_load_file: KeyLoadFileSettings,
    /// Work on requests and the hand-over of replies.
    #[serde(default)]
    pub(crate) worker: Worker,
    /// The audit log.
    #[serde(default)]
    pub(crate) audit: Audit,
    /// The log on standard error.
    #[serde(default)]
    pub(crate) log: Log,
    /// Metrics for Prometheus.
    #[serde(default)]
    pub(crate) metrics: Metrics,
}

/// `[gateway]`: the gateway's own addresses, and its name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    /// Every address that people write in To, aliases included. Help texts name the
    /// first.
    pub(crate) addresses: Vec<GatewayAddress>,
    /// Postfix's `recipient_delimiter`: any of these characters ends the
    /// local part that counts. Empty, as in Postfix, by default.
    #[serde(default)]
    pub(crate) recipient_delimiter: String,
    /// The gateway's name among those of one database. The default is the machine's
    /// host name.
    #[serde(default)]
    pub(crate) node: Option<NodeName>,
}

/// `[milter]`: the port by which Postfix reaches the gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Milter {
    /// `inet:HOST:PORT` or `unix:PATH`, as in Postfix's `smtpd_milters`.
    pub(crate) listen: ListenAddress,
    /// `milter_macro_daemon_name` of the internal listener in master.cf.
    pub(crate) internal_daemon_name: String,
    /// Delete the gateway's recipients rather than discard the message, so
    /// that copies by `always_bcc` and its kin survive.
    pub(crate) keep_bcc: bool,
    /// Milter connections served at once; above Postfix's smtpd process limit.
    pub(crate) max_connections: usize,
    /// Bytes of memory for messages that come in, until they are on disk.
    pub(crate) max_memory: u64,
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

impl Milter {
    /// The least `max_memory` for messages of so many bytes. Half of it is for
    /// content, and one message may take three quarters of that.
    #[must_use]
    pub(crate) const fn least_memory(max_message_bytes: u64) -> u64 {
        max_message_bytes.saturating_mul(4).saturating_add(1 << 20)
    }
}

/// `[secrets]`: the place of the master secret. At most one may be named. The
/// default is the file `/etc/kms-gateway/master.secret`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Secrets {
    /// A file that only the gateway's user can read.
    pub(crate) master_secret_file: Option<PathBuf>,
    /// The name of a systemd credential (`LoadCredential=`).
    pub(crate) master_secret_credential: Option<String>,
    /// The name of an environment variable. This is the weakest of the three: child
    /// processes inherit the environment, and many tools show it.
    pub(crate) master_secret_environment: Option<String>,
}

impl Secrets {
    /// The number of places that are named.
    pub(crate) fn places(&self) -> usize {
        [
            self.master_secret_file.is_some(),
            self.master_secret_credential.is_some(),
            self.master_secret_environment.is_some(),
        ]
        .into_iter()
        .filter(|named| *named)
        .count()
    }

    /// Whether the master secret is in a file, named or by default.
    pub(crate) fn is_in_file(&self) -> bool {
        self.master_secret_credential.is_none() && self.master_secret_environment.is_none()
    }
}

/// `[reply]`: the port by which replies reach Postfix, and their form.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reply {
    /// Postfix's milter-free port for replies.
    pub(crate) smtp: SocketAddr,
    /// Reverse path of replies; empty for the null reverse path (RFC 3834, 3.3).
    pub(crate) reverse_path: String,
    /// Addresses of one request that are answered, of a stranger's only the
    /// first; the rest is audited.
    pub(crate) max_targets: usize,
    /// Characters that come back of what follows the service code in the Subject
    /// of a request that may be forged.
    pub(crate) max_stranger_subject: usize,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            smtp: SocketAddr::from(([127, 0, 0, 1], 18025)),
            reverse_path: String::new(),
            max_targets: policy::Settings::default().max_targets,
            max_stranger_subject: 256,
        }
    }
}

/// `[metrics]`: what Prometheus may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// The address to listen on. Without one there are no metrics.
    pub(crate) listen: Option<SocketAddr>,
}

/// `[kmc]`: the KMC's own keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Kmc {
    /// The time for which the gateway warns of the end of the last key that serves.
    pub(crate) warn_before_expiry: Period,
}

impl Default for Kmc {
    fn default() -> Self {
        Self {
            warn_before_expiry: Period::from_secs(60 * 24 * 3600),
        }
    }
}

/// `[module_update]`: the STSA, whose update files are taken.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ModuleUpdate {
    /// The STSA's keys. Without any no update file is taken.
    pub(crate) stsa_keys: Vec<StsaKeySetting>,
    /// The STSA's addresses. Only replies to them say which modules were added and
    /// revoked.
    pub(crate) stsa_addresses: Vec<GatewayAddress>,
}

/// A key of the STSA, and the time for which it is trusted.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct StsaKeySetting {
    /// A point on P-384, SEC1 uncompressed, in upper-case hex.
    pub(crate) public_key: StsaPublicKeyText,
    /// The start of the trust, as records write times: yyyymmddThhmmssZ.
    pub(crate) valid_from: StsTimeText,
    /// The end of the trust, written likewise.
    pub(crate) valid_until: StsTimeText,
}

/// `[worker]`: work on requests and the hand-over of replies.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Worker {
    /// Requests worked on at once.
    pub(crate) parallel_requests: usize,
    /// Replies handed to Postfix at once.
    pub(crate) parallel_deliveries: usize,
    /// The time after the death of a gateway when another takes up its work. A living
    /// gateway renews its leases, however long an attempt takes.
    pub(crate) lease: Period,
    /// The wait before the first repetition. It is doubled each time.
    pub(crate) first_retry: Period,
    /// The longest wait between repetitions.
    pub(crate) longest_retry: Period,
    /// After this time a request that can't be served gets `EServiceFailed`,
    /// and a reply that Postfix doesn't take is given up.
    pub(crate) give_up: Period,
    /// The sender of a request that waits longer than this for its answer gets
    /// one notice, `Deferred`.
    pub(crate) notice_after: Period,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            parallel_requests: 6,
            parallel_deliveries: 12,
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
pub(crate) struct Audit {
    /// The time for which entries are kept. Older ones are cut once a day, and an
    /// authenticated anchor is left in their place.
    pub(crate) keep: Period,
    /// Whether `keep` may be shorter than 30 days. A mistyped unit (`400s` for
    /// `400d`) would cut the log at the next start, for good.
    pub(crate) keep_less_than_30_days: bool,
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
pub(crate) struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or a list with levels
    /// for libraries too.
    pub(crate) level: LogLevel,
    /// `text` for people, `json` for machines.
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::info(),
            format: LogFormat::Text,
        }
    }
}
