//! An operator's order.

use jiff::Timestamp;

use crate::audit::{Entry, Event};

/// The time of an order and the person who gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) at: Timestamp,
    /// The person, as the audit log names them.
    pub(crate) operator: String,
}

impl Order {
    pub(crate) fn entry(&self, event: Event) -> Entry {
        Entry {
            operator: Some(self.operator.clone()),
            ..Entry::new(self.at, event)
        }
    }
}
