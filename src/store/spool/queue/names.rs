//! Finds a request by the name that an operator gives: its id, the beginning of it, or Postfix's
//! queue id. Only the audit log knows finished requests.

use std::collections::BTreeSet;

use crate::request_id::RequestId;
use crate::store::audit::log::{self, StoredEntry};
use crate::store::database::{Connection, DatabaseError, Store, StoreError};

impl Store {
    /// The requests with this id or Postfix queue id, finished ones too. If there is none, those
    /// whose id begins so.
    pub(crate) async fn requests_named(&self, name: &str) -> Result<Vec<RequestId>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| named(&name, connection)).await
    }
}

fn named(name: &str, connection: &mut Connection) -> Result<Vec<RequestId>, DatabaseError> {
    // Every id begins with the empty name.
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let beginning = name.to_ascii_lowercase();
    let mut found = Found::default();
    let rows = connection.all(
        "SELECT id, queue_id FROM requests
         WHERE queue_id = $1 OR substr(id, 1, length($2)) = $2
         UNION
         SELECT request_id, queue_id FROM replies
         WHERE queue_id = $1 OR substr(request_id, 1, length($2)) = $2",
        &[&name, &beginning],
    )?;
    for row in &rows {
        let queue_id: String = row.get("queue_id")?;
        found.add(row.text("id")?, queue_id == name, &beginning);
    }
    let keys = [
        key("queue_id", name, true),
        key("request_id", &beginning, false),
    ];
    for stored in log::entries_with(&keys, connection)? {
        // A row that is no entry has no name.
        let Ok(entry) = stored.entry() else { continue };
        let queue_id = entry.queue_id;
        if let Some(id) = entry.request_id.and_then(|id| id.parse().ok()) {
            found.add(id, queue_id.as_deref() == Some(name), &beginning);
        }
    }
    Ok(found.named())
}

/// The audit entries of a request, in order.
pub(super) fn entries_of(
    request_id: RequestId,
    connection: &mut Connection,
) -> Result<Vec<StoredEntry>, DatabaseError> {
    let id = request_id.to_string();
    let key = key("request_id", &id, true);
    let mut entries = log::entries_with(&[key.clone(), key], connection)?;
    entries.retain(|stored| {
        let entry = stored.entry();
        entry.is_ok_and(|entry| entry.request_id.as_deref() == Some(&id))
    });
    Ok(entries)
}

/// A field with this value, or one that begins so, as the canonical text of an entry has it.
fn key(field: &str, value: &str, is_whole: bool) -> String {
    let value = serde_json::Value::from(value).to_string();
    let value = match is_whole {
        true => &value,
        false => value.strip_suffix('"').unwrap_or(&value),
    };
    format!("\"{field}\":{value}")
}

#[derive(Default)]
struct Found {
    wholly: BTreeSet<[u8; 16]>,
    by_beginning: BTreeSet<[u8; 16]>,
}

impl Found {
    fn add(&mut self, id: RequestId, is_queue_id: bool, beginning: &str) {
        let text = id.to_string();
        if is_queue_id || text == beginning {
            self.wholly.insert(*id.as_bytes());
        } else if text.starts_with(beginning) {
            self.by_beginning.insert(*id.as_bytes());
        }
    }

    fn named(self) -> Vec<RequestId> {
        let ids = match self.wholly.is_empty() {
            true => self.by_beginning,
            false => self.wholly,
        };
        ids.into_iter().map(RequestId::from_bytes).collect()
    }
}
