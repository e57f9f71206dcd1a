//! Fields that say outright that a message was submitted automatically.

use super::field::{FieldEntry, Value, entry, word};

/// The rule `auto-submitted`.
#[rustfmt::skip]
pub(crate) static AUTO_SUBMITTED: &[FieldEntry] = &[
    entry("Auto-Submitted", Value::OtherThan("no"), "RFC 3834 5"),
    entry("Autosubmitted", Value::OtherThan("not-auto-submitted"), "RFC 2156, X.400 gateways"),
    word("Autoforwarded", "true", "RFC 2156, X.400 gateways"),
];
