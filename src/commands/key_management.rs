//! Which key management system an installation has, and opening it.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;

use super::{CommandError, environment::Environment};
use crate::{
    config::{Config, Period},
    kms::{EmbeddedKms, Kms, KmsTables, RemoteKms, RemoteSettings},
    store::Store,
};

/// Store and key management system. An external one needs no key in the store;
/// the storage key, which seals nothing then, is opened even so: one more lock
/// that another master secret does not fit.
pub(super) async fn open(
    path: &Path,
    config: &Config,
) -> Result<(Arc<Store>, Arc<dyn Kms>), CommandError> {
    let environment = Environment::open_checked(path, config).await?;
    let store = environment.store.clone();
    let kms: Arc<dyn Kms> = match remote(config) {
        Some(kms) => Arc::new(kms),
        None => Arc::new(environment.into_kms(config)?),
    };
    Ok((store, kms))
}

/// The external system, where one is named.
pub(super) fn remote(config: &Config) -> Option<RemoteKms> {
    let kms = &config.kms;
    Some(RemoteKms::new(RemoteSettings {
        socket: kms.socket.clone()?,
        connect_timeout: kms.connect_timeout.as_std(),
        request_timeout: kms.request_timeout.as_std(),
        answer_timeout: kms.answer_timeout.as_std(),
        acceptance_timeout: kms.acceptance_timeout.as_std(),
    }))
}

/// Which one it is, for people.
pub(super) fn description(config: &Config) -> String {
    match &config.kms.socket {
        Some(socket) => format!("external, at {}", socket.display()),
        None => format!("embedded, in {}", config.store.path.display()),
    }
}

/// For how long the end of the last KMC key is warned of; none where the keys
/// are an external system's.
pub(super) fn key_warning(config: &Config) -> Option<Period> {
    let is_embedded = config.kms.socket.is_none();
    is_embedded.then_some(config.kmc.warn_before_expiry)
}

/// Refuses where the keys that a command is about are somebody else's.
pub(super) fn require_embedded(path: &Path, config: &Config) -> Result<(), CommandError> {
    match &config.kms.socket {
        None => Ok(()),
        Some(socket) => Err(CommandError::other(format!(
            "{}: kms.socket names an external key management system, at {}; kmc, module and \
             vending-key are for the embedded one: use the tools of that system",
            path.display(),
            socket.display(),
        ))),
    }
}

/// The embedded system, where it is the one in use.
pub(super) async fn embedded(path: &Path, config: &Config) -> Result<EmbeddedKms, CommandError> {
    require_embedded(path, config)?;
    Environment::open(path, config).await?.into_kms(config)
}

/// The configuration at `path` with store and storage key open, for a command
/// on the embedded system's tables.
pub(super) async fn load_embedded(path: &Path) -> Result<(Config, Environment), CommandError> {
    let config = Config::load(path)?;
    require_embedded(path, &config)?;
    let environment = Environment::open(path, &config).await?;
    Ok((config, environment))
}

/// Keys that lie in the store and answer nobody, once an external system does.
pub(super) async fn keys_left_behind(
    config: &Config,
    store: &Store,
) -> Result<Option<String>, CommandError> {
    if config.kms.socket.is_none() {
        return Ok(None);
    }
    let (kmc_keys, modules, vending_keys) = (
        store.kmc_keys().await?.len(),
        store.modules().await?.len(),
        store.vending_keys().await?.len(),
    );
    if kmc_keys + modules + vending_keys == 0 {
        return Ok(None);
    }
    Ok(Some(format!(
        "{} holds {kmc_keys} KMC keys, {modules} modules and {vending_keys} vending keys of the \
         embedded key management system, which the external one has no use for: make a new \
         database by init, and keep the old one where keys are kept",
        config.store.path.display(),
    )))
}

/// Asks an external system for its public key: what it says, or why it does
/// not answer. None for the embedded one, which `serve` opens or refuses.
pub(super) async fn try_remote(config: &Config) -> Option<Result<String, String>> {
    let answer = remote(config)?.public_key(Timestamp::now()).await;
    let shown = answer.map(|key| format!("{}, {}", key.record.kmcid, key.fingerprint));
    Some(shown.map_err(|error| error.to_string()))
}
