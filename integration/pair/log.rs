//! The audit log that both gateways write.

use jiff::Timestamp;
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

    /// The ids of the requests with this event, in order.
    pub fn requests(&self, event: &str) -> Vec<String> {
        let id = |entry: &Value| entry["request_id"].as_str().expect("an id").to_owned();
        self.entries(event).map(id).collect()
    }

    /// The times of all entries, in order.
    pub fn times(&self) -> Vec<Timestamp> {
        let time = |entry: &Value| entry["time"].as_str().expect("a time").parse();
        let times: Result<_, _> = self.0.iter().map(time).collect();
        times.expect("times")
    }
}
