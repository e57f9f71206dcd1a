//! Opens what the configuration names: master secret, store and keys.

use std::{
    io::ErrorKind,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::CommandError;
use crate::{
    audit::ChainKey,
    config::{Config, ConfigError, Secrets},
    dnsbl::{self, Blocklists, ConfiguredSite, Families, NameServer, ResolverError},
    kms::{
        EmbeddedKms, Freshness, IssueLimit, KmsTables, MasterSecret, MasterSecretError, StorageKey,
        administration::Administration, secrets_are_kept_in_memory, update::StsaKey,
    },
    mail::GatewayAddresses,
    policy::{
        self,
        throttle::{Allowance, Excess},
    },
    store::{Shares, Store, StoreSettings, Synchronous, give_to_owner},
    sts::StsTime,
};

/// Where the master secret is unless the configuration says otherwise.
pub(super) const DEFAULT_MASTER_SECRET: &str = "/etc/kms-gateway/master.secret";

/// The opened parts of an installation.
pub(super) struct Environment {
    pub(super) store: Arc<Store>,
    pub(super) storage_key: StorageKey,
}

impl Environment {
    /// Opens store and keys, and makes what isn't there yet.
    pub(super) async fn open(path: &Path, config: &Config) -> Result<Self, CommandError> {
        let secret = master_secret(path, &config.secrets)?;
        let store = Store::open(&store_settings(config), Some(chain_key(&secret))).await?;
        Self::with(store, &secret).await
    }

    /// The same, and reads the whole database before: what takes requests must
    /// not put them into a damaged file.
    pub(super) async fn open_checked(path: &Path, config: &Config) -> Result<Self, CommandError> {
        let secret = master_secret(path, &config.secrets)?;
        let settings = store_settings(config);
        let begun = Instant::now();
        let store = Store::open_checked(&settings, Some(chain_key(&secret))).await?;
        tracing::debug!(path = %store.path().display(), took = ?begun.elapsed(), "database checked");
        Self::with(store, &secret).await
    }

    async fn with(store: Arc<Store>, secret: &MasterSecret) -> Result<Self, CommandError> {
        let storage_key = StorageKey::open_or_create(store.as_ref(), secret).await?;
        Ok(Self { store, storage_key })
    }

    /// The configuration at `path`, with its store and keys open.
    pub(super) async fn load(path: &Path) -> Result<(Config, Self), CommandError> {
        let config = Config::load(path)?;
        let environment = Self::open(path, &config).await?;
        Ok((config, environment))
    }

    /// The operator's hands on the keys.
    pub(super) fn administration(&self) -> Administration<'_> {
        Administration::new(self.store.as_ref(), &self.storage_key)
    }

    /// The embedded key management system on this store.
    pub(super) fn into_kms(self, config: &Config) -> Result<EmbeddedKms, CommandError> {
        let freshness = Freshness {
            past: config.key_load_file.max_age.as_std(),
            future: config.key_load_file.max_ahead.as_std(),
        };
        let tables: Arc<dyn KmsTables> = self.store;
        let stsa_keys = config.module_update.stsa_keys.iter().map(|own| StsaKey {
            key: own.public_key.0.clone(),
            valid_from: own.valid_from.0,
            valid_until: own.valid_until.0,
        });
        let kms = EmbeddedKms::new(tables, self.storage_key, freshness)?;
        let limit = IssueLimit {
            at_most: config.key_load_file.max_issues,
            within: config.key_load_file.max_issues_within.as_signed(),
        };
        Ok(kms.trusting(stsa_keys.collect()).limited_to(limit))
    }
}

/// The key of the audit log's chain.
pub(super) fn chain_key(secret: &MasterSecret) -> ChainKey {
    ChainKey::new(secret.derive("audit-chain").expose())
}

/// The store, which must be there. Without the chain's key it is read only.
pub(super) async fn existing_store(
    config: &Config,
    chain_key: Option<ChainKey>,
) -> Result<Arc<Store>, CommandError> {
    let path = &config.store.path;
    if !path.exists() {
        return Err(CommandError::other(format!(
            "{} does not exist; store.path names the database, which kmc init makes",
            path.display()
        )));
    }
    Ok(Store::open(&store_settings(config), chain_key).await?)
}

/// The master secret from the place that the configuration at `path` names.
pub(super) fn master_secret(path: &Path, secrets: &Secrets) -> Result<MasterSecret, ConfigError> {
    // The first of all secrets. That it may be swapped out is no reason to end.
    if let Err(error) = secrets_are_kept_in_memory() {
        tracing::warn!(%error, "secrets may be swapped out; raise LimitMEMLOCK= (ulimit -l)");
    }
    let (key, secret) = match secrets {
        Secrets {
            master_secret_credential: Some(name),
            ..
        } => (
            "secrets.master_secret_credential",
            MasterSecret::from_systemd_credential(name),
        ),
        Secrets {
            master_secret_environment: Some(variable),
            ..
        } => (
            "secrets.master_secret_environment",
            MasterSecret::from_environment(variable),
        ),
        _ => (
            "secrets.master_secret_file",
            MasterSecret::from_file(master_secret_file(secrets)),
        ),
    };
    secret.map_err(|error| {
        let remedy = match &error {
            MasterSecretError::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
                "a new installation is made by kms-gateway init"
            }
            _ => "mend that, or name another place",
        };
        ConfigError::value(path, key, error, remedy)
    })
}

/// A new master secret in a new file, which the gateway's user can read.
pub(super) fn new_master_secret(
    config: &Config,
    file: &Path,
) -> Result<MasterSecret, CommandError> {
    let secret = MasterSecret::create_file(file)?;
    give_to_owner(file, &config.store.path)
        .map_err(|error| CommandError::file(file, "given to the gateway's user", &error))?;
    Ok(secret)
}

/// The file that holds the master secret where no other place is named.
pub(super) fn master_secret_file(secrets: &Secrets) -> &Path {
    secrets
        .master_secret_file
        .as_deref()
        .unwrap_or(Path::new(DEFAULT_MASTER_SECRET))
}

pub(super) fn store_settings(config: &Config) -> StoreSettings {
    #[cfg(not(feature = "test-faults"))]
    let synchronous = Synchronous::Full;
    #[cfg(feature = "test-faults")]
    let synchronous = if config.store.synchronous_off {
        Synchronous::Off
    } else {
        Synchronous::Full
    };
    StoreSettings {
        path: config.store.path.clone(),
        max_requests: config.store.max_requests,
        max_bytes: config.store.max_bytes,
        min_free_bytes: config.store.min_free_bytes,
        shares: Shares {
            strangers: config.store.strangers_percent,
            newcomers: config.store.newcomers_percent,
            network: config.store.network_percent,
        },
        busy_timeout: Duration::from_secs(10),
        synchronous,
    }
}

/// Whose mail is the gateway's.
pub(super) fn gateway_addresses(config: &Config) -> GatewayAddresses {
    GatewayAddresses::new(
        config
            .gateway
            .addresses
            .iter()
            .map(|address| address.0.clone())
            .collect(),
        &config.gateway.recipient_delimiter,
    )
}

/// The limits that the rules apply.
pub(super) fn policy_settings(config: &Config) -> policy::Settings {
    let trusted = config.policy.trusted_networks.iter();
    policy::Settings {
        trusted_networks: trusted.map(|network| network.0).collect(),
        authentication: policy::Authentication {
            authserv_ids: config.sender_authentication.authserv_ids.clone(),
            is_required: config.sender_authentication.require,
        },
        max_received: config.policy.max_received,
        max_message_bytes: config.policy.max_message_bytes,
        max_unexpected_attachment_bytes: config.policy.max_unexpected_attachment_bytes,
        max_headers: config.policy.max_headers,
        max_header_bytes: config.policy.max_header_bytes,
        max_targets: config.reply.max_targets,
    }
}

/// The DNS blocklists to ask, if there are any: who has none needs no resolver.
pub(super) fn blocklists(config: &Config) -> Result<Option<Blocklists>, ResolverError> {
    dnsbl_settings(config).map(Blocklists::new).transpose()
}

/// What is asked, of whom and for how long, if anything.
pub(super) fn dnsbl_settings(config: &Config) -> Option<dnsbl::Settings> {
    let dnsbl = &config.dnsbl;
    if dnsbl.zones.is_empty() {
        return None;
    }
    let sites = dnsbl.zones.iter().map(|zone| ConfiguredSite {
        site: zone.site.clone(),
        families: match (zone.ipv4, zone.ipv6) {
            (true, false) => Families::V4,
            (false, true) => Families::V6,
            _ => Families::Both,
        },
        has_test_entries: zone.health,
    });
    Some(dnsbl::Settings {
        sites: sites.collect(),
        threshold: dnsbl.threshold,
        name_server: dnsbl.resolver.map_or(NameServer::System, NameServer::At),
        time_limit: dnsbl.time_limit.as_std(),
        recheck: dnsbl.recheck.as_std(),
    })
}

/// How much a sender may ask.
pub(super) fn throttle(config: &Config) -> policy::Throttle {
    let throttle = &config.throttle;
    let sender = Allowance {
        at_once: throttle.at_once,
        every: throttle.every.as_signed(),
        excess: Excess::Block {
            above: throttle.block_above,
            lasting: throttle.block_for.as_signed(),
        },
    };
    policy::Throttle {
        sender,
        many: throttle.network_factor,
        target: sender.for_target(throttle.target_factor),
        newcomers: Allowance {
            at_once: throttle.newcomers_at_once,
            every: throttle.newcomers_every.as_signed(),
            excess: Excess::Defer,
        },
    }
}

/// `now` as records have it.
pub(super) fn sts_time(now: Timestamp) -> Result<StsTime, CommandError> {
    StsTime::from_timestamp(now).ok_or_else(|| {
        CommandError::other(format!(
            "the clock says {now}; set it: no record holds that time"
        ))
    })
}
