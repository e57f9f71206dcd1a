//! The gateway's own addresses, matched as Postfix matches them. Knows
//! addresses only, and nothing of their place in a message.

use super::address::{Address, same_local};

/// The addresses that the gateway answers for.
#[derive(Clone, Debug, Default)]
pub struct GatewayAddresses {
    addresses: Vec<Address>,
    /// Postfix's `recipient_delimiter`: a set of characters, empty for none.
    recipient_delimiter: String,
}

impl GatewayAddresses {
    /// The configured addresses, and Postfix's `recipient_delimiter` (empty: none).
    pub fn new(addresses: Vec<Address>, recipient_delimiter: &str) -> Self {
        GatewayAddresses {
            addresses,
            recipient_delimiter: recipient_delimiter.to_owned(),
        }
    }

    /// The configured address that `address` names: the domain is the same, and
    /// so is the local part except for case and an extension.
    pub fn find(&self, address: &Address) -> Option<&Address> {
        self.find_local(address, address.local()).or_else(|| {
            let user = self.without_extension(address.local())?;
            self.find_local(address, user)
        })
    }

    /// Whether `address` is one of the gateway's.
    pub fn contains(&self, address: &Address) -> bool {
        self.find(address).is_some()
    }

    /// The configured addresses in their order.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Address> {
        self.addresses.iter()
    }

    fn find_local(&self, address: &Address, local: &str) -> Option<&Address> {
        self.addresses
            .iter()
            .find(|own| own.domain() == address.domain() && same_local(own.local(), local))
    }

    /// The local part up to the first delimiter.
    fn without_extension<'a>(&self, local: &'a str) -> Option<&'a str> {
        let at = local.find(|c| self.recipient_delimiter.contains(c))?;
        local.get(..at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn finds(recipient_delimiter: &str, text: &str) -> bool {
        let own = Address::parse("gateway@kms.example.org").unwrap();
        let gateway = GatewayAddresses::new(vec![own.clone()], recipient_delimiter);
        gateway.find(&Address::parse(text).unwrap()) == Some(&own)
    }

    #[test]
    fn every_spelling_is_found() {
        for text in [
            "gateway@kms.example.org",
            "GATEWAY@kms.example.org.",
            "\"gateway\"@KMS.example.org",
            "gateway+x@kms.example.org",
            "gateway-x+y@kms.example.org",
            "Gateway+@kms.example.org",
        ] {
            assert!(finds("+-", text), "{text}");
        }
    }

    #[test]
    fn other_addresses_are_not() {
        for text in [
            "gateway@example.org",
            "gateway2@kms.example.org",
            "+gateway@kms.example.org",
            "x+gateway@kms.example.org",
            "\"gateway \"@kms.example.org",
        ] {
            assert!(!finds("+-", text), "{text}");
        }
        assert!(!finds("", "gateway+x@kms.example.org"));
        assert!(!finds("+", "gateway-x@kms.example.org"));
    }

    #[test]
    fn a_configured_address_may_have_a_delimiter_in_it() {
        let own = Address::parse("stsa-kmc@kms.example.org").unwrap();
        let gateway = GatewayAddresses::new(vec![own.clone()], "-");
        assert_eq!(gateway.find(&own), Some(&own));
    }
}
