//! The keys of former master secrets, under which older entries of the audit log are chained.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::error::{Failure, StoreError};
use super::settings::StoreSettings;
use crate::audit::{ChainKey, HandOver};
use crate::secrets::Sealed;

/// The audit log's key together with the keys before it.
pub(super) async fn with_former(
    key: ChainKey,
    connection: &mut SqliteConnection,
    settings: &StoreSettings,
) -> Result<ChainKey, StoreError> {
    let hand_overs = hand_overs(connection)
        .await
        .map_err(|error| Failure::from(error).of(settings))?;
    key.with_former(hand_overs)
        .map_err(|_| StoreError::OtherChainKey {
            path: settings.path.clone(),
        })
}

/// The hand-overs that concern entries still kept, the newest first.
async fn hand_overs(connection: &mut SqliteConnection) -> sqlx::Result<Vec<HandOver>> {
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
