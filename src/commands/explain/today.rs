//! Judges an accepted message by the rules in force now. The result may differ from
//! the judgement at its acceptance.

use serde_json::{Value, json};

use super::table::{self, Row, Style};
use crate::{
    audit::Entry,
    config::Config,
    gateway::environment::{gateway_addresses, policy_settings},
    mail::{Address, AddressError, Client, Message, ReversePath},
    policy::{Envelope, Facts, Listener},
    store::SpooledMessage,
};

/// The findings of each rule.
pub(in super::super) struct RulesToday(Vec<Row>);

impl RulesToday {
    /// Judges a message. Recipients and size come from the entry of its acceptance.
    /// Blocklists are not asked, and the client counts as not logged in, as that was
    /// not kept.
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
        let recipients: Vec<Address> = recipients.filter_map(|text| address(text).ok()).collect();
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

    /// The table for standard output.
    pub(in super::super) fn lines(&self) -> Vec<String> {
        table::lines(&self.0, Style::of_stdout())
    }

    /// A JSON array with an object for each rule.
    pub(in super::super) fn json(&self) -> Value {
        let rows = self.0.iter().map(table::cells);
        rows.map(|[rule, looked_at, found, verdict]| {
            json!({"rule": rule, "looked_at": looked_at, "found": found, "verdict": verdict})
        })
        .collect()
    }
}

/// Parses an envelope recipient, with or without angle brackets.
pub(super) fn address(text: &str) -> Result<Address, AddressError> {
    Address::parse(text.trim_start_matches('<').trim_end_matches('>'))
}
