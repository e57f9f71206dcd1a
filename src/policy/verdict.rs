//! The words for what becomes of a message. No other file has an enum of them.

use std::fmt::{self, Display, Formatter};

/// The fate of a message, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The message is not the gateway's business and goes on untouched.
    Pass,
    /// The message is refused, so that the sender's server reports it to the sender.
    Reject,
    /// The message is accepted and dropped. The sender learns nothing.
    Ignore,
    /// The message is kept and answered later.
    Defer,
    /// The message is answered. No rule has this verdict: no rule matched.
    Request,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Verdict; 5] = [
        Verdict::Pass,
        Verdict::Reject,
        Verdict::Ignore,
        Verdict::Defer,
        Verdict::Request,
    ];

    /// The word in the audit log, the metrics, JSON and the documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Reject => "reject",
            Verdict::Ignore => "ignore",
            Verdict::Defer => "defer",
            Verdict::Request => "request",
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
