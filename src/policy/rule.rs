//! The columns of the rule table. Knows no rule.

use std::fmt::{self, Display, Formatter};

use super::dnsbl;
use super::facts::{Envelope, Facts, Listener};
use super::finding::Finding;
use super::looked_at::LooksAt;
use super::verdict::Verdict;

/// The name of a rule, in the audit log, the metrics and the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleName(pub(super) &'static str);

/// The rules that code outside their own rows refers to.
impl RuleName {
    /// The rule by which mail for others passes.
    pub(crate) const NOT_FOR_GATEWAY: RuleName = RuleName("not-for-gateway");
    /// The rule that wants the gateway's address in To.
    pub(crate) const NOT_IN_TO: RuleName = RuleName("not-in-to");
    /// The rule that wants a service code in the Subject.
    pub(crate) const SUBJECT: RuleName = RuleName("subject");
    /// The rule that wants an address to answer.
    pub(crate) const REPLY_TARGET: RuleName = RuleName("reply-target");
    /// The rule by which the store drops mail of a blocked sender.
    pub(crate) const BLOCKED: RuleName = RuleName("blocked");
    /// The rule by which the store puts a request off.
    pub(crate) const FLOOD: RuleName = RuleName("flood");
    /// The rule by which the store refuses strangers' mail for a time.
    pub(crate) const CROWDED: RuleName = RuleName("crowded");

    /// The name as it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl Display for RuleName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// When a rule can decide at the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// At RCPT.
    Recipient,
    /// At the end of the message.
    EndOfMessage,
}

/// The listeners whose mail a rule judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listeners {
    /// Both listeners.
    All,
    /// The outer listener only.
    OuterOnly,
}

/// The function behind a rule. It returns None if the rule doesn't match.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// Needs the envelope only, so the rule can decide at RCPT.
    Envelope(fn(&Envelope<'_>) -> Option<Finding>),
    /// Needs the answers of the DNS blocklists. Not called if they were not asked.
    Dnsbl(fn(&Envelope<'_>, &dnsbl::Score) -> Option<Finding>),
    /// Needs the message.
    Message(fn(&Facts<'_>) -> Option<Finding>),
    /// Needs the earlier requests, which only the store knows. The store decides
    /// by [`super::throttle::step`] when it takes the message.
    Store,
}

/// A row of the rule table: everything that belongs to one rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The name, different from all others.
    pub name: RuleName,
    /// The listeners whose mail the rule judges.
    pub(crate) listeners: Listeners,
    /// The verdicts that the rule can give.
    pub(crate) verdicts: &'static [Verdict],
    /// The clause of STS600-9-2 or the document that asks for the rule.
    pub source: &'static str,
    /// The messages that the rule matches, in one line.
    pub summary: &'static str,
    /// Why no answer came, for the help text. None if the sender gets an answer
    /// in any case, or asked for none.
    pub(crate) unanswered: Option<&'static str>,
    /// Number of entries in the list that the rule searches; None without a list.
    pub(crate) patterns: Option<usize>,
    /// The settings that the rule reads, as `section.key` of the configuration.
    pub(crate) settings: &'static [&'static str],
    /// The setting without which the rule never matches; None if it is always on.
    pub(crate) switch: Option<&'static str>,
    /// The part of the message that `explain` shows beside the rule.
    pub(crate) looks_at: LooksAt,
    /// The function that decides.
    pub(crate) check: Check,
}

impl Rule {
    /// When the rule can decide at the earliest.
    pub const fn stage(&self) -> Stage {
        match self.check {
            Check::Envelope(_) | Check::Dnsbl(_) => Stage::Recipient,
            Check::Message(_) | Check::Store => Stage::EndOfMessage,
        }
    }

    /// Whether the rule judges mail of this listener.
    pub(crate) fn applies_to(&self, listener: Listener) -> bool {
        self.listeners == Listeners::All || listener == Listener::Outer
    }

    /// The part of a message that the rule looks at, in one printable line.
    pub(crate) fn looked_at(&self, facts: &Facts<'_>) -> String {
        let shown = self.looks_at.shown(facts);
        shown.unwrap_or_else(|| self.summary.to_owned())
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

    /// Whether [`Rule::look`] can find anything in this message.
    pub(super) fn is_asked(&self, envelope: &Envelope<'_>) -> bool {
        self.applies_to(envelope.listener)
            && match self.check {
                Check::Envelope(_) | Check::Message(_) => true,
                Check::Dnsbl(_) => envelope.dnsbl.is_some(),
                Check::Store => false,
            }
    }
}
