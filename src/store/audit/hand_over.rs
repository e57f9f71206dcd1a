//! Passes the audit log's chain to the key of another master secret.

use jiff::Timestamp;

use super::log::{anchor, head, set_anchor};
use crate::audit::{Anchor, ChainKey, Entry, Event, HandOver};
use crate::store::database::{Changes, DatabaseError, Failure};

/// Passes the chain to `next` and writes the first entry under it. The anchor is made anew, but
/// only if it is authentic, so that a falsified one stays noticeable.
pub(crate) fn hand_over(
    next: &ChainKey,
    at: Timestamp,
    detail: String,
    changes: &mut Changes<'_>,
) -> Result<(), Failure> {
    let key = changes.chain_key.ok_or(Failure::NoChainKey)?;
    let first = head(changes.connection)?.sequence + 1;
    let HandOver { first, sealed_key } =
        key.hand_over(next, first).map_err(DatabaseError::encode)?;
    changes.connection.execute(
        "INSERT INTO audit_hand_overs (sequence, sealed_key) VALUES ($1, $2)",
        &[&first, &sealed_key.as_bytes()],
    )?;
    if let Some(anchor) = anchor(changes.connection)?
        && let Ok(head) = anchor.check(key)
    {
        set_anchor(Anchor::new(next, head), changes.connection)?;
    }
    let mut changes = Changes::on(changes.connection, changes.settings, Some(next));
    let mut entry = Entry::new(at, Event::MasterSecretChanged);
    entry.detail = Some(detail);
    changes.audit(entry)
}
