//! The gateway's addresses, as every target has them.

use kms_gateway::mail::{Address, GatewayAddresses};

/// What people write in To.
pub const GATEWAY: &str = "gateway@kms.example.org";

/// The two addresses, and `+` to extend them.
pub fn addresses() -> GatewayAddresses {
    let own = [GATEWAY, "kmc@keys.example.org"].map(|own| Address::parse(own).unwrap());
    GatewayAddresses::new(own.to_vec(), "+")
}
