//! The requests that an operator means by sender, client or rule.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use super::values::{Selected, Selection};
use crate::mail::ReversePath;
use crate::request_id::RequestId;
use crate::store::database::{Connection, DatabaseError, Row, Store, StoreError};
use crate::store::spool::wait::waits_for_allowance;

impl Store {
    /// The requests of a selection in the order of their acceptance, then those of which only
    /// replies wait.
    pub(crate) async fn selected(
        &self,
        selection: &Selection,
        now: Timestamp,
    ) -> Result<Vec<Selected>, StoreError> {
        let selection = selection.clone();
        self.read(move |connection| selected(&selection, now, connection))
            .await
    }
}

const REQUESTS: &str = concat!(
    "SELECT id, accepted_at, reverse_path, sender, client, rule, ",
    waits_for_allowance!(),
    " AS is_throttled
     FROM requests ORDER BY sequence"
);

/// A notice belongs to its request, which has the sender.
const REPLIES: &str =
    "SELECT request_id AS id, accepted_at, sender_path AS reverse_path, sender, client,
         NULL AS rule, false AS is_throttled,
         (SELECT count(*) FROM deliveries WHERE reply = replies.sequence) AS deliveries
     FROM replies ORDER BY sequence";

fn selected(
    selection: &Selection,
    now: Timestamp,
    connection: &mut Connection,
) -> Result<Vec<Selected>, DatabaseError> {
    let mut found = Found::default();
    for row in &connection.all(REQUESTS, &[&now])? {
        if selection.means(&Asked::read(row)?) {
            found.add(row, true)?;
        }
    }
    for row in &connection.all(REPLIES, &[])? {
        let is_of_request = found.has(row.text("id")?);
        if is_of_request || selection.means(&Asked::read(row)?) {
            found.add(row, false)?.replies += row.get::<u64>("deliveries")?;
        }
    }
    Ok(found.in_order)
}

/// The columns of a row that a selection looks at.
struct Asked {
    reverse_path: String,
    sender: String,
    client: Option<IpAddr>,
    /// The rule that put it off when it came.
    rule: Option<String>,
    is_throttled: bool,
}

impl Asked {
    fn read(row: &Row) -> Result<Self, DatabaseError> {
        let or_empty = |column: &str| -> Result<String, DatabaseError> {
            let text: Option<String> = row.get(column)?;
            Ok(text.unwrap_or_default())
        };
        Ok(Self {
            reverse_path: or_empty("reverse_path")?,
            sender: or_empty("sender")?,
            client: row.optional_text("client")?,
            rule: row.get("rule")?,
            is_throttled: row.get("is_throttled")?,
        })
    }

    fn is_from(&self, sender: &str) -> bool {
        match ReversePath::from_smtp(sender).address() {
            Some(address) => ReversePath::from_smtp(&self.reverse_path)
                .address()
                .is_some_and(|own| own.same_mailbox(address)),
            None => self.sender.eq_ignore_ascii_case(sender),
        }
    }
}

impl Selection {
    fn means(&self, asked: &Asked) -> bool {
        let is_from = |sender: &String| asked.is_from(sender);
        let sender = self.sender.as_ref().is_none_or(is_from);
        let client = self
            .client
            .is_none_or(|network| asked.client.is_some_and(|own| network.contains(&own)));
        let rule = self
            .rule
            .is_none_or(|rule| asked.is_throttled && asked.rule.as_deref() == Some(rule.as_str()));
        sender && client && rule
    }
}

#[derive(Default)]
struct Found {
    in_order: Vec<Selected>,
    places: BTreeMap<[u8; 16], usize>,
}

impl Found {
    fn has(&self, id: RequestId) -> bool {
        self.places.contains_key(id.as_bytes())
    }

    fn add(&mut self, row: &Row, is_unanswered: bool) -> Result<&mut Selected, DatabaseError> {
        let request_id: RequestId = row.text("id")?;
        let next = self.in_order.len();
        let place = *self.places.entry(*request_id.as_bytes()).or_insert(next);
        if place == next {
            let path: Option<String> = row.get("reverse_path")?;
            self.in_order.push(Selected {
                request_id,
                accepted_at: row.get("accepted_at")?,
                reverse_path: path.unwrap_or_default(),
                is_unanswered,
                is_throttled: row.get("is_throttled")?,
                replies: 0,
            });
        }
        self.in_order
            .get_mut(place)
            .ok_or_else(|| DatabaseError::content("a request that has no place"))
    }
}
