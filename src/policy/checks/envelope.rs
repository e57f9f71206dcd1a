//! What the envelope alone decides.

use crate::policy::facts::Envelope;
use crate::policy::finding::{Finding, Outcome};

/// `not-for-gateway`
pub(in crate::policy) fn not_for_gateway(envelope: &Envelope<'_>) -> Option<Finding> {
    let is_for_gateway = envelope
        .recipients
        .iter()
        .any(|recipient| envelope.gateway.contains(recipient));
    (!is_for_gateway).then(|| Finding::new(Outcome::Pass, "no recipient is the gateway"))
}
