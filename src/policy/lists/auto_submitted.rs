//! Fields that say outright that a message was submitted automatically.

use super::field::{FieldEntry, Value};

/// The rule `auto-submitted`.
pub static AUTO_SUBMITTED: &[FieldEntry] = &[
    FieldEntry {
        field: "Auto-Submitted",
        value: Value::OtherThan("no"),
        source: "RFC 3834 5",
    },
    FieldEntry {
        field: "Autosubmitted",
        value: Value::OtherThan("not-auto-submitted"),
        source: "RFC 2156, X.400 gateways",
    },
    FieldEntry {
        field: "Autoforwarded",
        value: Value::Word("true"),
        source: "RFC 2156, X.400 gateways",
    },
];
