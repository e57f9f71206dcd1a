//! Recipient verification (`reject_unverified_recipient`). Postfix sends a probe and keeps
//! its result for hours. After a probe while the gateway is down, Postfix would refuse the
//! gateway's mail long after the gateway is back. Therefore a probe of the gateway's
//! address goes to discard(8), which always takes it.

use super::{WiringError, maps::Maps, postconf::Postconf};

/// The parameter whose tables decide the transport of a probe.
pub(super) const PARAMETER: &str = "address_verify_transport_maps";

/// The transport of a probe of the gateway's address; the next hop is only a mark.
pub(super) const ROUTE: &str = "discard:kms-gateway";

const RESTRICTION: &str = "reject_unverified_recipient";

/// Whether any smtpd service verifies recipients.
pub(super) fn is_used(postconf: &Postconf) -> Result<bool, WiringError> {
    let settings = postconf.settings()?;
    let overrides = postconf.overrides("*/*/*")?;
    let mut values = settings.values().chain(overrides.values());
    Ok(values.any(|value| {
        let words = value.split([',', ' ', '\t', '{', '}']);
        words.into_iter().any(|word| word == RESTRICTION)
    }))
}

/// Whether a probe of this address succeeds without the gateway.
pub(super) fn is_excepted(maps: &Maps, address: &str) -> Result<bool, WiringError> {
    let hit = maps.find(PARAMETER, &[address])?;
    Ok(hit.is_some_and(|hit| !hit.value.starts_with("kms-gateway:")))
}
