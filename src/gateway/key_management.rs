//! Opens the key management system of an installation: the embedded one, or an
//! external one.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;

use super::{GatewayError, environment::Environment};
use crate::{
    config::{Config, Period},
    kms::{EmbeddedKms, Kms, KmsTables, RemoteKms},
    store::Store,
};

/// An open store, and the key management system on it or beside it.
pub(crate) type Opened = (Arc<Store>, Arc<dyn Kms>);

/// Opens store and key management system for a gateway that serves.
pub(crate) async fn open_to_serve(path: &Path, config: &Config) -> Result<Opened, GatewayError> {
    opened(Environment::open_to_serve(path, config).await?, config)
}

/// Opens them if the whole database is sound.
pub(crate) async fn open_checked(path: &Path, config: &Config) -> Result<Opened, GatewayError> {
    opened(Environment::open_checked(path, config).await?, config)
}

/// The storage key is open even with an external system, where it seals nothing: so a
/// wrong master secret is found.
fn opened(environment: Environment, config: &Config) -> Result<Opened, GatewayError> {
    let store = environment.store.clone();
    let kms: Arc<dyn Kms> = match remote(config) {
        Some(kms) => Arc::new(kms),
        None => Arc::new(environment.into_kms(config)?),
    };
    Ok((store, kms))
}

/// The external system, if one is configured.
pub(crate) fn remote(config: &Config) -> Option<RemoteKms> {
    RemoteKms::new(config.kms.clone())
}

/// Says which system it is, for people.
pub(crate) fn description(config: &Config) -> String {
    match &config.kms.socket {
        Some(socket) => format!("external, at {}", socket.display()),
        None => format!("embedded, in {}", config.store.place()),
    }
}

/// How long before its end the last KMC key causes a warning. None with an external
/// system, which has its own keys.
pub(crate) fn key_warning(config: &Config) -> Option<Period> {
    let is_embedded = config.kms.socket.is_none();
    is_embedded.then_some(config.kmc.warn_before_expiry)
}

/// Refuses a command on the embedded system's keys where an external one is used.
pub(crate) fn require_embedded(path: &Path, config: &Config) -> Result<(), GatewayError> {
    match &config.kms.socket {
        None => Ok(()),
        Some(socket) => Err(GatewayError::other(format!(
            "{}: kms.socket names an external key management system, at {}; kmc, module and \
             vending-key work on the embedded one only; use the external system's own tools",
            path.display(),
            socket.display(),
        ))),
    }
}

/// Opens the embedded system; an error if an external one is used.
pub(crate) async fn embedded(path: &Path, config: &Config) -> Result<EmbeddedKms, GatewayError> {
    require_embedded(path, config)?;
    Environment::open(path, config).await?.into_kms(config)
}

/// Loads the configuration at `path`, and opens store and storage key for a command
/// on the embedded system's tables.
pub(crate) async fn load_embedded(path: &Path) -> Result<Environment, GatewayError> {
    let config = Config::load(path)?;
    require_embedded(path, &config)?;
    Environment::open(path, &config).await
}

/// Warns of embedded keys that are still in the store although an external system
/// is used.
pub(crate) async fn keys_left_behind(
    config: &Config,
    store: &Store,
) -> Result<Option<String>, GatewayError> {
    if config.kms.socket.is_none() {
        return Ok(None);
    }
    let kmc_keys = store.kmc_keys().await?.len();
    let modules = store.modules().await?.len();
    let vending_keys = store.vending_keys().await?.len();
    if kmc_keys + modules + vending_keys == 0 {
        return Ok(None);
    }
    Ok(Some(format!(
        "{} holds {kmc_keys} KMC keys, {modules} modules and {vending_keys} vending keys of the \
         embedded key management system, which the external one does not use; make a new \
         database with init, and keep the old one in a safe",
        config.store.place(),
    )))
}

/// Asks an external system for its public key. Returns the KMCID and fingerprint, or
/// the reason for no answer. None for the embedded system.
pub(crate) async fn try_remote(config: &Config) -> Option<Result<String, String>> {
    let answer = remote(config)?.public_key(Timestamp::now()).await;
    let shown = answer.map(|key| format!("{}, {}", key.record.kmcid, key.fingerprint));
    Some(shown.map_err(|error| error.to_string()))
}
