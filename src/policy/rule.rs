//! A row of the rule table.

use std::fmt::{self, Display, Formatter};

use super::dnsbl;
use super::facts::{Envelope, Facts, Listener};
use super::finding::Finding;

/// The name of a rule, in the audit log, the metrics and the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleName {
    /// `not-for-gateway`
    NotForGateway,
    /// `dnsbl`
    Dnsbl,
    /// `return-path`
    ReturnPath,
    /// `own-mail`
    OwnMail,
    /// `hops`
    Hops,
    /// `malformed`
    Malformed,
    /// `auto-submitted`
    AutoSubmitted,
    /// `precedence`
    Precedence,
    /// `mailing-list`
    MailingList,
    /// `auto-responder`
    AutoResponder,
    /// `report`
    Report,
    /// `not-in-to`
    NotInTo,
    /// `subject`
    Subject,
    /// `reply-target`
    ReplyTarget,
    /// `size`
    Size,
    /// `sender-authentication`
    SenderAuthentication,
    /// `blocked`
    Blocked,
    /// `flood`
    Flood,
    /// `crowded`
    Crowded,
}

impl RuleName {
    /// The name as it is written everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RuleName::NotForGateway => "not-for-gateway",
            RuleName::Dnsbl => "dnsbl",
            RuleName::ReturnPath => "return-path",
            RuleName::OwnMail => "own-mail",
            RuleName::Hops => "hops",
            RuleName::Malformed => "malformed",
            RuleName::AutoSubmitted => "auto-submitted",
            RuleName::Precedence => "precedence",
            RuleName::MailingList => "mailing-list",
            RuleName::AutoResponder => "auto-responder",
            RuleName::Report => "report",
            RuleName::NotInTo => "not-in-to",
            RuleName::Subject => "subject",
            RuleName::ReplyTarget => "reply-target",
            RuleName::Size => "size",
            RuleName::SenderAuthentication => "sender-authentication",
            RuleName::Blocked => "blocked",
            RuleName::Flood => "flood",
            RuleName::Crowded => "crowded",
        }
    }
}

impl Display for RuleName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// When a rule can first be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// At RCPT.
    Recipient,
    /// At the end of the message.
    EndOfMessage,
}

/// Which listeners' mail a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// All mail.
    All,
    /// Not what comes by the internal listener.
    OuterOnly,
}

/// A rule's look at the facts: None where it doesn't match.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// It needs the envelope only, so it can decide at RCPT.
    Envelope(fn(&Envelope<'_>) -> Option<Finding>),
    /// It needs what blocklists say of the client, if they were asked.
    Dnsbl(fn(&Envelope<'_>, &dnsbl::Score) -> Option<Finding>),
    /// It needs the message.
    Message(fn(&Facts<'_>) -> Option<Finding>),
    /// It needs what was asked before, which the store alone knows: it looks
    /// when it takes the message, by [`super::throttle::step`].
    Store,
}

/// A row of the rule table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// Whose mail it looks at.
    pub listeners: Listeners,
    /// The clause of STS600-9-2 or the document that asks for it.
    pub source: &'static str,
    /// What it matches, in a line.
    pub summary: &'static str,
    /// What the help text says to somebody who waits in vain for an answer;
    /// none where the sender gets one, or asked for none.
    pub unanswered: Option<&'static str>,
    /// The look itself.
    pub check: Check,
}

impl Rule {
    /// When it can first be looked at.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self.check {
            Check::Envelope(_) | Check::Dnsbl(_) => Stage::Recipient,
            Check::Message(_) | Check::Store => Stage::EndOfMessage,
        }
    }

    /// Whether it looks at mail that came in there.
    #[must_use]
    pub fn applies_to(&self, listener: Listener) -> bool {
        self.listeners == Listeners::All || listener == Listener::Outer
    }

    pub(super) fn look(&self, facts: &Facts<'_>) -> Option<Finding> {
        match self.check {
            Check::Envelope(_) | Check::Dnsbl(_) => self.look_at_envelope(&facts.envelope),
            Check::Message(check) if self.applies_to(facts.envelope.listener) => check(facts),
            Check::Message(_) | Check::Store => None,
        }
    }

    pub(super) fn look_at_envelope(&self, envelope: &Envelope<'_>) -> Option<Finding> {
        if !self.applies_to(envelope.listener) {
            return None;
        }
        match self.check {
            Check::Envelope(check) => check(envelope),
            Check::Dnsbl(check) => check(envelope, envelope.dnsbl?),
            Check::Message(_) | Check::Store => None,
        }
    }

    /// Whether it can say anything of this message at all.
    pub(super) fn is_asked(&self, envelope: &Envelope<'_>) -> bool {
        self.applies_to(envelope.listener)
            && match self.check {
                Check::Envelope(_) | Check::Message(_) => true,
                Check::Dnsbl(_) => envelope.dnsbl.is_some(),
                Check::Store => false,
            }
    }
}
