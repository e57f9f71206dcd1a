//! From facts to a judgement: the first rule that matches decides; where none
//! does, the message is a request.

use crate::mail::{Address, ServiceCode, Targets};

use super::checks::{addressing, authentication, service};
use super::facts::{Envelope, Facts, Listener};
use super::finding::Finding;
use super::rule::{Rule, RuleName};
use super::rules::RULES;
use super::verdict::Verdict;

/// The policy's word on a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// A rule matched.
    Ruled(Ruling),
    /// No rule matched.
    Request(Asked),
}

/// The rule that decided, and its finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The rule.
    pub rule: RuleName,
    /// What follows, and why.
    pub finding: Finding,
}

/// What a request asks, of which gateway address, and who is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The service.
    pub service: ServiceCode,
    /// The configured address that To names first.
    pub gateway: Address,
    /// Who is answered, at least one, and who not.
    pub targets: Targets,
    /// The author's address, where his domain authenticated the message.
    pub authenticated: Option<Address>,
}

impl Judgement {
    /// What becomes of the message.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Judgement::Ruled(ruling) => ruling.finding.verdict,
            Judgement::Request(_) => Verdict::Request,
        }
    }

    /// The rule that decided; none did for a request.
    #[must_use]
    pub fn rule(&self) -> Option<RuleName> {
        match self {
            Judgement::Ruled(ruling) => Some(ruling.rule),
            Judgement::Request(_) => None,
        }
    }

    /// Why the rule matched.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Judgement::Ruled(ruling) => Some(&ruling.finding.reason),
            Judgement::Request(_) => None,
        }
    }

    /// What a request asks.
    #[must_use]
    pub fn asked(&self) -> Option<&Asked> {
        match self {
            Judgement::Ruled(_) => None,
            Judgement::Request(asked) => Some(asked),
        }
    }
}

impl Ruling {
    /// Our own Postfix stands before the internal listener: refused there, a
    /// message would be bounced to a sender who may be forged.
    pub(super) fn new(rule: RuleName, mut finding: Finding, listener: Listener) -> Self {
        if listener == Listener::Internal && finding.verdict == Verdict::Reject {
            finding.verdict = Verdict::Ignore;
        }
        Ruling { rule, finding }
    }
}

/// Judges what is known at RCPT; None where that is for the end of the message to say.
#[must_use]
pub fn judge_recipients(envelope: &Envelope<'_>) -> Option<Judgement> {
    RULES.iter().find_map(|rule| {
        let finding = rule.look_at_envelope(envelope)?;
        let ruling = Ruling::new(rule.name, finding, envelope.listener);
        Some(Judgement::Ruled(ruling))
    })
}

/// Judges a message.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Judgement {
    let listener = facts.envelope.listener;
    let ruled = RULES.iter().find_map(|rule| {
        let finding = rule.look(facts)?;
        Some(Ruling::new(rule.name, finding, listener))
    });
    match ruled.map_or_else(|| asked(facts), Err) {
        Ok(asked) => Judgement::Request(asked),
        Err(ruling) => Judgement::Ruled(ruling),
    }
}

fn asked(facts: &Facts<'_>) -> Result<Asked, Ruling> {
    let ruled_by = |rule| move |finding| Ruling::new(rule, finding, facts.envelope.listener);
    Ok(Asked {
        service: service::service(facts).map_err(ruled_by(RuleName::SUBJECT))?,
        gateway: addressing::named_gateway(facts).map_err(ruled_by(RuleName::NOT_IN_TO))?,
        targets: addressing::targets(facts).map_err(ruled_by(RuleName::REPLY_TARGET))?,
        authenticated: authentication::authenticated_author(facts),
    })
}

/// What a rule has to say of a message.
#[derive(Clone, Debug)]
pub struct RuleResult {
    /// The rule.
    pub rule: &'static Rule,
    /// What it found.
    pub looked: Looked,
}

/// What came of a rule's look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// It doesn't look at what comes by this listener, nobody asked what it
    /// needs, or only the store looks.
    NotAsked,
    /// It doesn't match.
    Clear,
    /// It is the first that matches.
    Decides(Finding),
    /// It would match, but an earlier one has decided.
    WouldMatch(Finding),
}

/// Every rule's look at a message, in order.
#[must_use]
pub fn explain(facts: &Facts<'_>) -> Vec<RuleResult> {
    let mut decided = false;
    RULES
        .iter()
        .map(|rule| {
            let looked = match rule.look(facts) {
                _ if !rule.is_asked(&facts.envelope) => Looked::NotAsked,
                None => Looked::Clear,
                Some(finding) if decided => Looked::WouldMatch(finding),
                Some(finding) => {
                    decided = true;
                    Looked::Decides(finding)
                }
            };
            RuleResult { rule, looked }
        })
        .collect()
}
