//! The gateway's addresses for all targets.

use kms_gateway::mail::{Address, GatewayAddresses};

/// The address that people write in To.
pub const GATEWAY: &str = "gateway@kms.example.org";

/// Two addresses, with `+` as the recipient delimiter.
pub fn addresses() -> GatewayAddresses {
    let own = [GATEWAY, "kmc@keys.example.org"].map(|own| Address::parse(own).unwrap());
    GatewayAddresses::new(own.to_vec(), "+")
}
