//! The domain name under which a zone lists an address (RFC 5782 2.1, 2.4).

use std::fmt::Write;
use std::net::IpAddr;

/// The octets of an IPv4 address, or the nibbles of an IPv6 address, in reverse
/// order before the zone. The final dot prevents the use of search domains.
pub(super) fn of(address: IpAddr, zone: &str) -> String {
    let mut name = String::new();
    let mut label = |label: std::fmt::Arguments<'_>| {
        // Writing to a String never fails.
        let _ = write!(name, "{label}.");
    };
    match address {
        IpAddr::V4(address) => {
            for octet in address.octets().iter().rev() {
                label(format_args!("{octet}"));
            }
        }
        IpAddr::V6(address) => {
            for octet in address.octets().iter().rev() {
                label(format_args!("{:x}", octet & 0xf));
                label(format_args!("{:x}", octet >> 4));
            }
        }
    }
    name + zone + "."
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn name(address: &str) -> String {
        of(address.parse().unwrap(), "bl.example")
    }

    #[test]
    fn the_examples_of_rfc_5782() {
        assert_eq!(name("192.0.2.99"), "99.2.0.192.bl.example.");
        assert_eq!(
            name("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example."
        );
        assert_eq!(
            name("::ffff:127.0.0.2"),
            "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example."
        );
    }

    proptest! {
        #[test]
        fn backwards_it_is_the_address(bits in any::<u128>()) {
            let address = std::net::Ipv6Addr::from_bits(bits);
            let name = of(address.into(), "z");
            let nibbles: String = name.trim_end_matches("z.").split('.').rev().collect();
            prop_assert_eq!(u128::from_str_radix(&nibbles, 16).unwrap(), bits);
        }
    }
}
