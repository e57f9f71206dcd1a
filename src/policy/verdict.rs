//! The words for what becomes of a message. No other file has an enum of them.

use crate::as_text::words;

words! {
    /// The fate of a message, in one word: in the audit log, the metrics, JSON and the
    /// documents.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Verdict {
        /// The message is not the gateway's business and goes on untouched.
        Pass = "pass",
        /// The message is refused, so that the sender's server reports it to the sender.
        Reject = "reject",
        /// The message is accepted and dropped. The sender learns nothing.
        Ignore = "ignore",
        /// The message is kept and answered later.
        Defer = "defer",
        /// The message is answered. No rule has this verdict: no rule matched.
        Request = "request",
    }
}
