//! Opens what the configuration names: master secret, store and keys.

use std::{io::ErrorKind, path::Path, sync::Arc, time::Instant};

use jiff::Timestamp;

use super::CommandError;
use crate::{
    audit::ChainKey,
    config::{Config, ConfigError, Secrets},
    dnsbl::{Blocklists, ResolverError},
    kms::{
        EmbeddedKms, KmsTables, MasterSecret, MasterSecretError, StorageKey,
        administration::Administration, secrets_are_kept_in_memory, update::StsaKey,
    },
    mail::GatewayAddresses,
    policy::{self, dnsbl},
    store::{SqliteStore, give_to_owner},
    sts::StsTime,
};

/// Where the master secret is unless the configuration says otherwise.
pub(super) const DEFAULT_MASTER_SECRET: &str = "/etc/kms-gateway/master.secret";

/// The opened parts of an installation.
pub(super) struct Environment {
    pub(super) store: Arc<SqliteStore>,
    pub(super) storage_key: StorageKey,
}

impl Environment {
    /// Opens store and keys, and makes what isn't there yet.
    pub(super) async fn open(path: &Path, config: &Config) -> Result<Self, CommandError> {
        let secret = master_secret(path, &config.secrets)?;
        let store = SqliteStore::open(&config.store, Some(chain_key(&secret))).await?;
        Self::with(store, &secret).await
    }

    /// The same, and reads the whole database before: what takes requests must
    /// not put them into a damaged file.
    pub(super) async fn open_checked(path: &Path, config: &Config) -> Result<Self, CommandError> {
        let secret = master_secret(path, &config.secrets)?;
        let begun = Instant::now();
        let store = SqliteStore::open_checked(&config.store, Some(chain_key(&secret))).await?;
        tracing::debug!(path = %store.path().display(), took = ?begun.elapsed(), "database checked");
        Self::with(store, &secret).await
    }

    async fn with(store: Arc<SqliteStore>, secret: &MasterSecret) -> Result<Self, CommandError> {
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
        let tables: Arc<dyn KmsTables> = self.store;
        let stsa_keys = config.module_update.stsa_keys.iter().map(|own| StsaKey {
            key: own.public_key.0.clone(),
            valid_from: own.valid_from.0,
            valid_until: own.valid_until.0,
        });
        let kms = EmbeddedKms::new(tables, self.storage_key, config.key_load_file.clone())?;
        Ok(kms.trusting(stsa_keys.collect()))
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
) -> Result<Arc<SqliteStore>, CommandError> {
    let path = &config.store.path;
    if !path.exists() {
        return Err(CommandError::other(format!(
            "{} does not exist; store.path names the database, which kmc init makes",
            path.display()
        )));
    }
    Ok(SqliteStore::open(&config.store, chain_key).await?)
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

/// The settings that the rules apply.
pub(super) fn policy_settings(config: &Config) -> policy::Settings {
    policy::Settings {
        limits: config.policy.clone(),
        authentication: config.sender_authentication.clone(),
        max_targets: config.reply.max_targets,
    }
}

/// The DNS blocklists to ask. Without any no resolver is needed.
pub(super) fn blocklists(settings: &dnsbl::Settings) -> Result<Option<Blocklists>, ResolverError> {
    match settings.zones.is_empty() {
        true => Ok(None),
        false => Blocklists::new(settings).map(Some),
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
