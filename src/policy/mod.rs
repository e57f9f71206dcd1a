//! The policy: one table of rules that says what becomes of a message.
//!
//! Pure: facts come in, a [`Judgement`] goes out. Other rooms ask DNS zones, the
//! store and the clock, and bring the answers as facts. [`RULES`] is the table.
//! An auditor reads it and the [`lists`] that the rules search.

mod authentication_results;
mod charges;
mod checks;
pub mod dnsbl;
mod facts;
mod finding;
mod judgement;
pub mod lists;
mod looked_at;
mod mailbox;
mod network;
mod requester;
mod rule;
mod rules;
mod settings;
pub mod throttle;
mod tokens;
mod verdict;

#[cfg(test)]
mod tests;

pub use charges::{Allowances, Charge, Charges, Newcomers, ThrottleKey, mailbox};
pub use checks::addressing::whom_to_answer;
pub use facts::{Envelope, Facts, Listener};
pub use finding::Finding;
pub use judgement::{
    Asked, Judgement, Looked, RuleResult, Ruling, explain, judge, judge_recipients,
};
pub use looked_at::LooksAt;
pub use network::Network;
pub use requester::{ClientNetwork, Requester, Sender, Trust, UnknownRequester};
pub use rule::{Check, Listeners, Rule, RuleName, Stage};
pub use rules::RULES;
pub use settings::{Authentication, Limits, Settings, Throttle};
pub use verdict::Verdict;
