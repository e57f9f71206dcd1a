//! The keys of former master secrets, under which older entries of the audit log are chained.

use super::connection::Connection;
use super::error::{DatabaseError, Failure, StoreError};
use super::settings::StoreSettings;
use crate::audit::{ChainKey, HandOver};
use crate::secrets::Sealed;

/// The audit log's key together with the keys before it.
pub(crate) fn with_former(
    key: ChainKey,
    connection: &mut Connection,
    settings: &StoreSettings,
) -> Result<ChainKey, StoreError> {
    let hand_overs = hand_overs(connection).map_err(|error| Failure::from(error).of(settings))?;
    key.with_former(hand_overs)
        .map_err(|_| StoreError::OtherChainKey {
            place: settings.place(),
        })
}

/// The hand-overs that concern entries still kept, the newest first.
fn hand_overs(connection: &mut Connection) -> Result<Vec<HandOver>, DatabaseError> {
    let rows = connection.all(
        "SELECT sequence, sealed_key FROM audit_hand_overs ORDER BY sequence DESC",
        &[],
    )?;
    rows.iter()
        .map(|row| {
            Ok(HandOver {
                first: row.get("sequence")?,
                sealed_key: Sealed::from_bytes(row.get("sealed_key")?),
            })
        })
        .collect()
}
