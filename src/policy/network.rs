//! A network as people write it.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::as_text::as_text;

/// A network, written `192.0.2.0/24`, or an address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let network: IpNet = text
            .parse()
            .map_err(|_| format!("{text:?} is no network such as \"192.0.2.0/24\""))?;
        let truncated = network.trunc();
        match truncated == network {
            true => Ok(Self(network)),
            false => Err(format!(
                "{text:?} is an address within {truncated}: write one of the two"
            )),
        }
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text!(Network);
