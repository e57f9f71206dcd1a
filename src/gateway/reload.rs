//! A reload: the configuration is read again while the gateway runs.

use std::path::Path;

use sd_notify::NotifyState;

use super::{GatewayError, live::Live, pulse, restart::keep_fixed, systemd::notify};
use crate::{
    config::Config,
    measures::{RELOAD_IS_GOOD, RELOADS, Reloaded},
};

/// Reads the configuration again; a bad one changes nothing.
pub(super) fn reload(path: &Path, running: &Config, live: &Live) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no monotonic time for systemd"),
    }
    let replaced = Config::load(path)
        .map_err(GatewayError::from)
        .and_then(|mut config| {
            let fixed = keep_fixed(running, &mut config);
            live.replace(&config).map(|()| fixed)
        });
    let bad = replaced.as_ref().err().map(ToString::to_string);
    let outcome = match bad {
        None => Reloaded::Good,
        Some(_) => Reloaded::Bad,
    };
    RELOADS.at(outcome).increment(1);
    RELOAD_IS_GOOD.only().set(u8::from(bad.is_none()));
    match replaced {
        Ok(fixed) => {
            for key in fixed {
                tracing::warn!(key, "changed in the file; takes effect at the next start");
            }
            tracing::info!("configuration reloaded");
        }
        Err(error) => {
            tracing::error!(%error, "configuration not reloaded; the old one stays in force");
        }
    }
    let status = pulse::reloaded(bad.as_deref());
    live.bad_reload.send_replace(bad);
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}
