//! Opens the parts that the configuration names: master secret, store and keys.

use std::{io::ErrorKind, path::Path, sync::Arc, time::Instant};

use jiff::Timestamp;

use super::GatewayError;
use crate::{
    audit::ChainKey,
    config::{Config, ConfigError, GatewayAddress, Secrets},
    dnsbl::{Blocklists, ResolverError},
    kms::{EmbeddedKms, KmsTables, administration::Administration, update::StsaKey},
    mail::{Address, GatewayAddresses},
    policy::{self, dnsbl},
    secrets::{MasterSecret, MasterSecretError, StorageKey, secrets_are_kept_in_memory},
    store::{Store, give_to_owner},
    sts::StsTime,
};

/// The master secret's file unless the configuration names another place.
pub(crate) const DEFAULT_MASTER_SECRET: &str = "/etc/kms-gateway/master.secret";

/// The opened parts of an installation.
pub(crate) struct Environment {
    pub(crate) store: Arc<Store>,
    pub(crate) storage_key: StorageKey,
}

impl Environment {
    /// Opens store and keys. Makes the database and the storage key if they are
    /// missing.
    pub(crate) async fn open(path: &Path, config: &Config) -> Result<Self, GatewayError> {
        let secret = master_secret(path, &config.secrets)?;
        let store = Store::open(&config.store, Some(chain_key(&secret))).await?;
        Self::with(store, &secret).await
    }

    /// Opens store and keys as [`Self::open_to_serve`] does, and checks the whole
    /// database first.
    pub(crate) async fn open_checked(path: &Path, config: &Config) -> Result<Self, GatewayError> {
        let secret = master_secret(path, &config.secrets)?;
        let store = Store::open_checked(&config.store, Some(chain_key(&secret))).await?;
        Self::with_verified(store, &secret).await
    }

    /// Opens store and keys as [`Self::open`] does, and checks first what a crash can
    /// have damaged: the gateway must not put requests into a damaged file. The rest is
    /// checked while it serves.
    pub(crate) async fn open_to_serve(path: &Path, config: &Config) -> Result<Self, GatewayError> {
        let secret = master_secret(path, &config.secrets)?;
        let begun = Instant::now();
        let store = Store::open_to_serve(&config.store, chain_key(&secret)).await?;
        let environment = Self::with_verified(store, &secret).await?;
        tracing::debug!(database = config.store.place(), took = ?begun.elapsed(), "database opened");
        Ok(environment)
    }

    /// Verifies the newest audit entries once the storage key has opened. With a wrong
    /// master secret, neither would hold.
    async fn with_verified(store: Arc<Store>, secret: &MasterSecret) -> Result<Self, GatewayError> {
        let environment = Self::with(store, secret).await?;
        environment.store.require_newest_entries().await?;
        Ok(environment)
    }

    async fn with(store: Arc<Store>, secret: &MasterSecret) -> Result<Self, GatewayError> {
        let storage_key = StorageKey::open_or_create(store.as_ref(), secret).await?;
        Ok(Self { store, storage_key })
    }

    /// The operator's access to the keys.
    pub(crate) fn administration(&self) -> Administration<'_> {
        Administration::new(self.store.as_ref(), &self.storage_key)
    }

    /// The embedded key management system on this store.
    pub(crate) fn into_kms(self, config: &Config) -> Result<EmbeddedKms, GatewayError> {
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
pub(crate) fn chain_key(secret: &MasterSecret) -> ChainKey {
    ChainKey::new(secret.derive("audit-chain").expose())
}

/// Opens the store, which must exist. Without the chain's key it is read-only.
pub(crate) async fn existing_store(
    config: &Config,
    chain_key: Option<ChainKey>,
) -> Result<Arc<Store>, GatewayError> {
    if let Some(missing) = missing_store(config).await? {
        return Err(GatewayError::other(missing));
    }
    Ok(Store::open(&config.store, chain_key).await?)
}

/// Says that there is no database, and what to do. None if there is one.
pub(crate) async fn missing_store(config: &Config) -> Result<Option<String>, GatewayError> {
    let store = &config.store;
    if Store::exists(store).await? {
        return Ok(None);
    }
    let place = store.place();
    Ok(Some(match store.postgresql {
        None => format!(
            "{place} does not exist; correct store.path, or make the database with kms-gateway init"
        ),
        Some(_) => format!(
            "{place} has no tables of the gateway; correct store.postgresql, or make them with \
             kms-gateway init"
        ),
    }))
}

/// Reads the master secret from the place that the configuration at `path` names.
pub(crate) fn master_secret(path: &Path, secrets: &Secrets) -> Result<MasterSecret, ConfigError> {
    // Checked before the first secret is read. A failure ends nothing.
    if let Err(error) = secrets_are_kept_in_memory() {
        tracing::warn!(%error, "secrets may be swapped out; raise LimitMEMLOCK= (ulimit -l)");
    }
    let (key, secret) = if let Some(name) = &secrets.master_secret_credential {
        let secret = MasterSecret::from_systemd_credential(name);
        ("secrets.master_secret_credential", secret)
    } else if let Some(variable) = &secrets.master_secret_environment {
        let secret = MasterSecret::from_environment(variable);
        ("secrets.master_secret_environment", secret)
    } else {
        let secret = MasterSecret::from_file(master_secret_file(secrets));
        ("secrets.master_secret_file", secret)
    };
    secret.map_err(|error| {
        let remedy = match &error {
            MasterSecretError::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
                "put it back; kms-gateway init makes a new installation"
            }
            _ => "mend that, or name another place",
        };
        ConfigError::value(path, key, error, remedy)
    })
}

/// Makes a master secret in a new file that the gateway's user can read.
pub(crate) fn new_master_secret(
    config: &Config,
    file: &Path,
) -> Result<MasterSecret, GatewayError> {
    let secret = MasterSecret::create_file(file)?;
    give_to_owner(file, &config.store.path)
        .map_err(|error| GatewayError::file(file, "given to the gateway's user", &error))?;
    Ok(secret)
}

/// The configured file of the master secret, or the default.
pub(crate) fn master_secret_file(secrets: &Secrets) -> &Path {
    secrets
        .master_secret_file
        .as_deref()
        .unwrap_or(Path::new(DEFAULT_MASTER_SECRET))
}

/// The addresses in a list of the configuration.
pub(crate) fn addresses(configured: &[GatewayAddress]) -> Vec<Address> {
    let addresses = configured.iter();
    addresses.map(|address| address.0.clone()).collect()
}

/// The addresses whose mail is the gateway's.
pub(crate) fn gateway_addresses(config: &Config) -> GatewayAddresses {
    let addresses = addresses(&config.gateway.addresses);
    GatewayAddresses::new(addresses, &config.gateway.recipient_delimiter)
}

/// The settings that the rules apply.
pub(crate) fn policy_settings(config: &Config) -> policy::Settings {
    policy::Settings {
        limits: config.policy.clone(),
        authentication: config.sender_authentication.clone(),
        max_targets: config.reply.max_targets,
    }
}

/// Opens the DNS blocklists. None if there are none: then no resolver is needed.
pub(crate) fn blocklists(settings: &dnsbl::Settings) -> Result<Option<Blocklists>, ResolverError> {
    match settings.zones.is_empty() {
        true => Ok(None),
        false => Blocklists::new(settings).map(Some),
    }
}

/// Converts `now` to the time format of records.
pub(crate) fn sts_time(now: Timestamp) -> Result<StsTime, GatewayError> {
    StsTime::from_timestamp(now).ok_or_else(|| {
        GatewayError::other(format!(
            "the clock says {now}, which no record can hold; set the clock"
        ))
    })
}
