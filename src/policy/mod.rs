//! The policy: one table of rules that says what becomes of a message.
//!
//! Pure: facts come in, a [`Judgement`] goes out. Other rooms ask DNS zones, the
//! store and the clock, and bring the answers as facts. [`RULES`] is the table.
//! An auditor reads it and the [`lists`] that the rules search.

mod authentication_results;
mod charges;
mod checks;
pub(crate) mod dnsbl;
mod facts;
mod finding;
mod judgement;
pub(crate) mod lists;
mod looked_at;
mod mailbox;
mod network;
mod requester;
mod rule;
mod rules;
mod settings;
pub(crate) mod throttle;
mod tokens;
mod verdict;

#[cfg(test)]
mod tests;

pub use charges::Charges;
pub(crate) use charges::{Allowances, Charge, Newcomers, ThrottleKey};
pub use facts::{Envelope, Facts, Listener};
#[cfg(test)]
pub(crate) use finding::Finding;
pub use judgement::{Asked, Judgement, Looked, explain, judge};
pub(crate) use judgement::{RuleResult, judge_recipients};
pub(crate) use network::Network;
pub(crate) use requester::{ClientNetwork, Requester};
pub use requester::{Sender, Trust};
pub use rule::Stage;
pub(crate) use rule::{Rule, RuleName};
pub use rules::RULES;
pub(crate) use settings::{Authentication, Limits};
pub use settings::{Settings, Throttle};
pub use verdict::Verdict;
