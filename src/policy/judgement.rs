//! From facts to a judgement: the first rule that matches decides; where none
//! does, the message is a request.

use crate::mail::{Address, ServiceCode, Targets};

use super::checks::{addressing, authentication, service};
use super::facts::{Envelope, Facts, Listener};
use super::finding::Finding;
use super::rule::{Rule, RuleName};
use super::rules::RULES;
use super::verdict::Verdict;

/// The result of judging a message.
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
    /// The rule that decided.
    pub rule: RuleName,
    /// The verdict and the reason.
    pub finding: Finding,
}

/// The service that a request asks for, and the addresses that get the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The service of the code in the Subject.
    pub service: ServiceCode,
    /// The configured address that To names first.
    pub gateway: Address,
    /// The addresses that get the reply, at least one, and those left out.
    pub targets: Targets,
    /// The author's address, if its domain authenticated the message.
    pub(crate) authenticated: Option<Address>,
}

impl Judgement {
    /// The verdict on the message.
    pub fn verdict(&self) -> Verdict {
        match self {
            Judgement::Ruled(ruling) => ruling.finding.verdict,
            Judgement::Request(_) => Verdict::Request,
        }
    }

    /// The rule that decided; None for a request.
    pub fn rule(&self) -> Option<RuleName> {
        match self {
            Judgement::Ruled(ruling) => Some(ruling.rule),
            Judgement::Request(_) => None,
        }
    }

    /// The reason why the rule matched; None for a request.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Judgement::Ruled(ruling) => Some(&ruling.finding.reason),
            Judgement::Request(_) => None,
        }
    }

    /// The request, if no rule matched.
    pub(crate) fn asked(&self) -> Option<&Asked> {
        match self {
            Judgement::Ruled(_) => None,
            Judgement::Request(asked) => Some(asked),
        }
    }
}

impl Ruling {
    /// Turns a reject on the internal listener into an ignore. Our own Postfix is
    /// the client there, and would bounce the message to a sender who may be forged.
    pub(super) fn new(rule: RuleName, mut finding: Finding, listener: Listener) -> Self {
        if listener == Listener::Internal && finding.verdict == Verdict::Reject {
            finding.verdict = Verdict::Ignore;
        }
        Ruling { rule, finding }
    }
}

/// Judges what is known at RCPT. Returns None if only the end of the message decides.
#[must_use]
pub(crate) fn judge_recipients(envelope: &Envelope<'_>) -> Option<Judgement> {
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

/// The result of one rule's look at a message.
#[derive(Clone, Debug)]
pub struct RuleResult {
    /// The rule that looked.
    pub rule: &'static Rule,
    /// The result of its look.
    pub looked: Looked,
}

/// The result of a rule's look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The rule did not look: it is not for this listener, the blocklists were not
    /// asked, or only the store looks.
    NotAsked,
    /// The rule does not match.
    Clear,
    /// The rule is the first that matches.
    Decides(Finding),
    /// The rule would match, but an earlier rule has decided.
    WouldMatch(Finding),
}

/// The looks of all rules at a message, in order.
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
