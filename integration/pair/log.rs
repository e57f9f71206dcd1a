//! The audit log that both gateways write.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::sites::Pair;

/// The entries of the audit log, in order.
pub struct Log(Vec<Value>);

impl Log {
    pub fn of(pair: &Pair) -> Self {
        let json = pair.command(&["audit", "list", "--json"]);
        Self(serde_json::from_str(&json).expect("an array"))
    }

    pub fn entries(&self, event: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |entry| entry["event"] == event)
    }

    pub fn count(&self, event: &str) -> usize {
        self.entries(event).count()
    }

    /// The ids of the requests with this event.
    pub fn requests(&self, event: &str) -> BTreeSet<String> {
        let id = |entry: &Value| entry["request_id"].as_str().expect("an id").to_owned();
        self.entries(event).map(id).collect()
    }
}
