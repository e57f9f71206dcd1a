//! The values of labels: verdicts, rules, services and codes by the names in their
//! own tables, and outcomes that only the metrics name.

use super::series::Place;
use crate::{
    mail::{ErrorCode, NoticeCode, ServiceCode},
    policy::{RULES, RuleName, Verdict},
};

/// The value of a label that does not apply.
const NONE: &str = "none";

/// Makes enums with a variant for each value of a label.
macro_rules! outcomes {
    ($($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal,)+ })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$doc])* $variant,)+ }

        impl Place for $name {
            fn all() -> Vec<Self> {
                vec![$(Self::$variant,)+]
            }

            fn values(self) -> Vec<&'static str> {
                vec![match self { $(Self::$variant => $value,)+ }]
            }
        }
    )+};
}

outcomes! {
    /// The reason why a message is not on disk.
    NotStored {
        /// The spool is full, or the file system's reserve begins.
        NoRoom = "no_room",
        /// Other messages hold all of milter.max_memory.
        NoMemory = "no_memory",
        /// The store fails.
        Trouble = "trouble",
    }

    /// The result of an attempt to hand a reply to Postfix.
    DeliveryEnd {
        /// Postfix took the reply.
        Delivered = "delivered",
        /// The reply is tried again: Postfix refuses its address for now.
        PutOff = "put_off",
        /// The reply is tried again: Postfix refuses it, but not for its address.
        Kept = "kept",
        /// The reply was not offered: the port takes nothing.
        NoPort = "no_port",
        /// Postfix refused the reply for good.
        Refused = "refused",
        /// The reply is not tried again.
        GivenUp = "given_up",
    }

    /// The reason why a request is in the spool.
    Waiting {
        /// Its turn, or an answer in work.
        Turn = "waiting",
        /// A later time.
        LaterTime = "put_off",
    }

    /// The stage of a sender over its allowance.
    Throttled {
        /// Its messages wait for their turn.
        Waiting = "waiting",
        /// The sender is blocked.
        Blocked = "blocked",
    }

    /// The result of asking a DNS blocklist.
    LookUp {
        /// The client is listed.
        Listed = "listed",
        /// The client is not listed.
        NotListed = "not_listed",
        /// No answer came in time.
        TimedOut = "timed_out",
        /// An error came.
        Failed = "failed",
        /// The zone was not asked because it is sick.
        SwitchedOff = "switched_off",
    }

    /// A part of the memory for messages.
    MemoryPart {
        /// The content that comes in.
        Content = "content",
        /// The copies that are made of the content at its end.
        Copies = "copies",
        /// Packets larger than Postfix's.
        Packets = "packets",
    }

    /// A connection of the milter port that was ended to make room.
    ConnectionEnded {
        /// The connection did not negotiate.
        Silent = "silent",
        /// No message was on its way.
        Idle = "idle",
        /// The connection waited between MAIL and the content.
        Waiting = "waiting",
        /// The connection stood still within the content.
        StandingStill = "standing_still",
    }

    /// The part in which a fault was caught.
    FoundAtFault {
        /// A session with Postfix.
        Milter = "milter",
        /// The answering of a request.
        Answering = "answering",
        /// The delivery of a reply.
        Delivering = "delivering",
    }

    /// The result of reading the configuration again.
    Reloaded {
        /// The new configuration is in force.
        Good = "good",
        /// The old configuration stays in force.
        Bad = "bad",
    }
}

/// The verdict on a message and the rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Decided {
    /// The verdict; None for a request that was accepted before.
    pub(crate) verdict: Option<Verdict>,
    /// The rule that decided; None for requests.
    pub(crate) rule: Option<RuleName>,
}

impl Decided {
    /// The word for a request that was accepted before.
    pub(crate) const DUPLICATE: &str = "duplicate";

    /// The verdict's word.
    #[must_use]
    pub(crate) fn verdict(self) -> &'static str {
        self.verdict.map_or(Self::DUPLICATE, Verdict::as_str)
    }
}

impl Place for Decided {
    fn all() -> Vec<Self> {
        let ruled = RULES.iter().flat_map(|row| {
            let decided = |verdict| Self {
                verdict: Some(verdict),
                rule: Some(row.name),
            };
            row.verdicts.iter().copied().map(decided)
        });
        let unruled = [Some(Verdict::Request), None].map(|verdict| Self {
            verdict,
            rule: None,
        });
        ruled.chain(unruled).collect()
    }

    fn values(self) -> Vec<&'static str> {
        vec![self.verdict(), self.rule.map_or(NONE, RuleName::as_str)]
    }
}

/// The service that was asked and the final result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Finished {
    service: &'static str,
    result: &'static str,
}

impl Finished {
    /// The label for a service code, if there is one, and for the kind and code of
    /// the result, if there is one. An unknown service code does not become a label.
    #[must_use]
    pub(crate) fn new(service: Option<&str>, kind: Option<&str>, code: Option<&str>) -> Self {
        let known = |code: &str| ServiceCode::KNOWN.iter().find(|own| own.as_str() == code);
        let result = code.or(kind);
        Self {
            service: service.map_or(NONE, |code| {
                known(code).map_or(UNKNOWN, ServiceCode::as_str)
            }),
            result: result
                .and_then(|text| results().find(|result| *result == text))
                .unwrap_or(NONE),
        }
    }
}

/// The label of all unknown services.
const UNKNOWN: &str = "unknown";

fn results() -> impl Iterator<Item = &'static str> {
    let errors = ErrorCode::ALL.iter().map(|code| code.as_str());
    std::iter::once("Success").chain(errors)
}

impl Place for Finished {
    fn all() -> Vec<Self> {
        let of_known = ServiceCode::KNOWN.iter().flat_map(|service| {
            let service = service.as_str();
            results().map(move |result| Self { service, result })
        });
        let others = [
            (UNKNOWN, ErrorCode::UnknownService.as_str()),
            (UNKNOWN, ErrorCode::ServiceFailed.as_str()),
            (NONE, NONE),
        ];
        let others = others.map(|(service, result)| Self { service, result });
        of_known.chain(others).collect()
    }

    fn values(self) -> Vec<&'static str> {
        vec![self.service, self.result]
    }
}

/// A notice that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NoticeSent(pub(crate) NoticeCode);

impl Place for NoticeSent {
    fn all() -> Vec<Self> {
        NoticeCode::ALL.iter().copied().map(Self).collect()
    }

    fn values(self) -> Vec<&'static str> {
        vec![self.0.as_str()]
    }
}

/// The program's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Build;

impl Place for Build {
    fn all() -> Vec<Self> {
        vec![Self]
    }

    fn values(self) -> Vec<&'static str> {
        vec![env!("CARGO_PKG_VERSION")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_sender_s_becomes_a_label() {
        let finished = Finished::new(Some("{KMS:Evil}"), Some("Error"), Some("EUnknownService"));
        assert_eq!(finished.values(), ["unknown", "EUnknownService"]);
        let finished = Finished::new(Some("{KMS:Help}"), Some("Success"), None);
        assert_eq!(finished.values(), ["{KMS:Help}", "Success"]);
        let finished = Finished::new(None, None, None);
        assert_eq!(finished.values(), ["none", "none"]);
    }
}
