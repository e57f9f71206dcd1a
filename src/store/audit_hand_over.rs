//! The audit log's chain under another key. What a hand-over is, and how it is
//! sealed, is `crate::audit`'s.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{
    audit_log::{anchor, head, set_anchor},
    error::Failure,
    intent::Changes,
};
use crate::{
    audit::{Anchor, ChainKey, Entry, Event, HandOver},
    secrets::Sealed,
};

/// The hand-overs that concern entries still kept, the newest first.
pub(super) async fn hand_overs(
    connection: &mut SqliteConnection,
) -> Result<Vec<HandOver>, sqlx::Error> {
    let rows =
        sqlx::query("SELECT sequence, sealed_key FROM audit_hand_overs ORDER BY sequence DESC")
            .fetch_all(connection)
            .await?;
    rows.iter()
        .map(|row| {
            Ok(HandOver {
                first: row.try_get("sequence")?,
                sealed_key: Sealed::from_bytes(row.try_get("sealed_key")?),
            })
        })
        .collect()
}

/// Hands the chain over to `next` and writes the first entry under it. The
/// anchor is made anew, but only if it is authentic: what was falsified stays
/// so.
pub(super) async fn hand_over(
    next: &ChainKey,
    at: Timestamp,
    detail: String,
    changes: &mut Changes<'_>,
) -> Result<(), Failure> {
    let key = changes.chain_key.ok_or(Failure::NoChainKey)?;
    let first = head(changes.connection).await?.sequence + 1;
    let HandOver { first, sealed_key } = key
        .hand_over(next, first)
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query("INSERT INTO audit_hand_overs (sequence, sealed_key) VALUES (?, ?)")
        .bind(first)
        .bind(sealed_key.as_bytes())
        .execute(&mut *changes.connection)
        .await?;
    if let Some(anchor) = anchor(changes.connection).await?
        && let Ok(head) = anchor.check(key)
    {
        set_anchor(Anchor::new(next, head), changes.connection).await?;
    }
    let mut changes = Changes::on(&mut *changes.connection, changes.settings, Some(next));
    let mut entry = Entry::new(at, Event::MasterSecretChanged);
    entry.detail = Some(detail);
    changes.audit(entry).await
}
