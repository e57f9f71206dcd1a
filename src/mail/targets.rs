//! Chooses the addresses that get the reply (STS600-9-2 8.3.1): the Reply-To
//! list if it has an address, else the first From, else the Sender.

use std::collections::HashSet;

use super::address::Address;
use super::address_list;
use super::gateway_addresses::GatewayAddresses;
use super::header::Headers;
use crate::as_text::words;

/// The header field that gave the reply's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetSource {
    /// All addresses of Reply-To.
    ReplyTo,
    /// The first address of From.
    From,
    /// The first address of Sender.
    Sender,
}

words! {
    /// Why an address is not answered, in one or more words for the audit log.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum LeftOut {
        /// The list already has the address.
        Duplicate = "duplicate",
        /// The address is the gateway's own.
        Gateway = "gateway address",
        /// A mail system or a mailing list reads the address, and no requester.
        Automatic = "automatic",
        /// The local part needs quotes. The gateway writes to no address that could
        /// be misread.
        Quoted = "quoted local part",
        /// The list is longer than the gateway answers.
        BeyondLimit = "beyond the limit",
    }
}

/// The addresses of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// The addresses that get the reply, in order, each once.
    pub answered: Vec<Address>,
    /// The other addresses of the field, each with the reason.
    pub left_out: Vec<(Address, LeftOut)>,
    /// `None` if no field has an address.
    pub(crate) source: Option<TargetSource>,
}

impl Targets {
    /// Keeps at most `limit` addresses and leaves out the rest.
    #[must_use]
    pub fn limited(mut self, limit: usize) -> Self {
        let beyond = self.answered.split_off(limit.min(self.answered.len()));
        self.left_out.extend(
            beyond
                .into_iter()
                .map(|address| (address, LeftOut::BeyondLimit)),
        );
        self
    }
}

/// Chooses the addresses that get the reply to a message with these header
/// fields. If every address of Reply-To is left out, From does not replace it,
/// because the author chose Reply-To. `is_automatic` recognises addresses that
/// no person reads.
#[must_use]
pub fn reply_targets(
    headers: &Headers,
    gateway: &GatewayAddresses,
    is_automatic: impl Fn(&Address) -> bool,
) -> Targets {
    let Some((source, addresses)) = candidates(headers) else {
        return Targets::default();
    };
    let mut targets = Targets {
        source: Some(source),
        ..Targets::default()
    };
    let mut seen = HashSet::new();
    for address in addresses {
        let reason = if is_automatic(&address) {
            Some(LeftOut::Automatic)
        } else {
            reason_to_leave_out(&address, gateway, &mut seen)
        };
        match reason {
            Some(reason) => targets.left_out.push((address, reason)),
            None => targets.answered.push(address),
        }
    }
    targets
}

fn candidates(headers: &Headers) -> Option<(TargetSource, Vec<Address>)> {
    let reply_to = address_list::all(headers, "Reply-To");
    if !reply_to.is_empty() {
        return Some((TargetSource::ReplyTo, reply_to));
    }
    [
        (TargetSource::From, "From"),
        (TargetSource::Sender, "Sender"),
    ]
    .into_iter()
    .find_map(|(source, name)| {
        let first = address_list::all(headers, name).into_iter().next()?;
        Some((source, vec![first]))
    })
}

fn reason_to_leave_out(
    address: &Address,
    gateway: &GatewayAddresses,
    seen: &mut HashSet<(String, String)>,
) -> Option<LeftOut> {
    if gateway.contains(address) {
        return Some(LeftOut::Gateway);
    }
    if !address.is_plain() {
        return Some(LeftOut::Quoted);
    }
    let mailbox = (address.local().to_lowercase(), address.domain().to_owned());
    (!seen.insert(mailbox)).then_some(LeftOut::Duplicate)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn targets(fields: &[(&str, &str)]) -> Targets {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let own = Address::parse("gateway@kms.example.org").unwrap();
        reply_targets(
            &headers,
            &GatewayAddresses::new(vec![own], "+"),
            |address| address.local().eq_ignore_ascii_case("mailer-daemon"),
        )
    }

    fn answered(fields: &[(&str, &str)]) -> Vec<String> {
        let targets = targets(fields);
        targets.answered.iter().map(Address::to_wire).collect()
    }

    #[test]
    fn reply_to_comes_before_from_before_sender() {
        let sender = ("Sender", "s@x.org, t@x.org");
        let from = ("From", "f@x.org, g@x.org");
        let reply_to = ("Reply-To", "r@x.org, q@x.org");
        assert_eq!(answered(&[sender, from, reply_to]), ["r@x.org", "q@x.org"]);
        assert_eq!(answered(&[sender, from]), ["f@x.org"]);
        assert_eq!(answered(&[sender]), ["s@x.org"]);
        assert_eq!(targets(&[]), Targets::default());
    }

    #[test]
    fn a_reply_to_without_an_address_is_as_if_missing() {
        let targets = targets(&[("Reply-To", "nobody"), ("From", "f@x.org")]);
        assert_eq!(targets.source, Some(TargetSource::From));
    }

    #[test]
    fn an_emptied_reply_to_is_not_made_up_for() {
        let targets = targets(&[
            ("Reply-To", "gateway+x@kms.example.org"),
            ("From", "f@x.org"),
        ]);
        assert_eq!(targets.source, Some(TargetSource::ReplyTo));
        assert!(targets.answered.is_empty());
    }

    #[test]
    fn who_is_left_out_and_why() {
        let targets = targets(&[(
            "Reply-To",
            "a@x.org, A@X.org, Gateway@kms.example.org, MAILER-DAEMON@x.org, \
             \"a b\"@x.org, c@x.org",
        )])
        .limited(1);
        let reasons: Vec<LeftOut> = targets.left_out.iter().map(|(_, reason)| *reason).collect();
        assert_eq!(
            reasons,
            [
                LeftOut::Duplicate,
                LeftOut::Gateway,
                LeftOut::Automatic,
                LeftOut::Quoted,
                LeftOut::BeyondLimit,
            ]
        );
    }
}
