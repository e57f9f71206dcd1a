//! The rules as they are now, at a message that was accepted before. What they
//! say may differ from what was decided then.

use serde_json::{Value, json};

use super::table::{self, Row, Style};
use crate::{
    audit::Entry,
    config::Config,
    gateway::environment::{gateway_addresses, policy_settings},
    mail::{Address, Client, Message, ReversePath},
    policy::{Envelope, Facts, Listener},
    store::SpooledMessage,
};

/// What each rule finds.
pub(in super::super) struct RulesToday(Vec<Row>);

impl RulesToday {
    /// The rules' looks at a message, its recipients and size from the entry of
    /// its acceptance. Blocklists are not asked, and whether its client was
    /// logged in nobody knows any more.
    pub(in super::super) fn of(
        config: &Config,
        spooled: &SpooledMessage,
        acceptance: Option<&Entry>,
    ) -> Self {
        let gateway = gateway_addresses(config);
        let settings = policy_settings(config);
        let message = Message::from_bytes(&spooled.message);
        let reverse_path = ReversePath::from_smtp(&spooled.reverse_path);
        let recipients = acceptance.into_iter().flat_map(|entry| &entry.recipients);
        let recipients: Vec<Address> = recipients.filter_map(|text| address(text)).collect();
        let size = acceptance.and_then(|entry| entry.size);
        let facts = Facts {
            envelope: Envelope {
                listener: Listener::Outer,
                client: Client {
                    address: spooled.client,
                    authenticated: false,
                },
                reverse_path: &reverse_path,
                recipients: &recipients,
                gateway: &gateway,
                dnsbl: None,
            },
            headers: &message.headers,
            structure: &message.structure(),
            size: size.unwrap_or(spooled.message.len() as u64),
            settings: &settings,
        };
        Self(Row::all(&facts))
    }

    /// A table, for standard output.
    pub(in super::super) fn lines(&self) -> Vec<String> {
        table::lines(&self.0, Style::of_stdout())
    }

    /// An object for each rule.
    pub(in super::super) fn json(&self) -> Value {
        let rows = self.0.iter().map(table::cells);
        rows.map(|[rule, looked_at, found, verdict]| {
            json!({"rule": rule, "looked_at": looked_at, "found": found, "verdict": verdict})
        })
        .collect()
    }
}

/// An envelope recipient as the audit log has it.
fn address(text: &str) -> Option<Address> {
    Address::parse(text.trim_start_matches('<').trim_end_matches('>')).ok()
}
