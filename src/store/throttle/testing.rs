//! Senders and requests that the tests of this room share.
#![allow(clippy::unwrap_used)]

use jiff::SignedDuration;

use crate::mail::Address;
use crate::policy::throttle::{Allowance, Excess};
use crate::policy::{Allowances, Sender};
use crate::store::NewRequest;
use crate::store::testing::{asking, request};

/// One at once and one a minute; more than three lead to an hour's block.
/// Two newcomers at once and one each ten seconds.
pub(super) const SMALL: Allowances = Allowances {
    sender: Allowance {
        at_once: 1,
        every: SignedDuration::from_mins(1),
        excess: Excess::Block {
            above: 3,
            lasting: SignedDuration::from_hours(1),
        },
    },
    many: 4,
    target: Allowance {
        at_once: 2,
        every: SignedDuration::from_mins(5),
        excess: Excess::Refuse { above: 4 },
    },
    newcomers: Allowance {
        at_once: 2,
        every: SignedDuration::from_secs(10),
        excess: Excess::Defer,
    },
};

pub(super) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(super) fn unknown(target: &str) -> Sender {
    Sender::Unknown {
        target: address(target),
        network: Some(std::net::IpAddr::from([192, 0, 2, 1]).into()),
        is_foreign: true,
        is_trusted: false,
    }
}

pub(super) fn from(sender: &Sender, target: &str, number: u8) -> NewRequest {
    let charges = SMALL.charges(sender, &[address(target)]);
    NewRequest {
        sender: charges.sender.as_ref().unwrap().key.to_string(),
        trust: sender.trust(),
        network: sender.network(),
        request: asking(target),
        charges,
        ..request(number)
    }
}

pub(super) fn jane(number: u8) -> NewRequest {
    let jane = "jane@vendor.example";
    from(&Sender::LoggedIn(address(jane)), jane, number)
}

/// A forger, each time of another network.
pub(super) fn forger(target: &str, number: u8) -> Sender {
    Sender::Unknown {
        target: address(target),
        network: Some(std::net::IpAddr::from([198, 51, number, 1]).into()),
        is_foreign: true,
        is_trusted: false,
    }
}
