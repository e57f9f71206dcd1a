//! Finds altered sealed rows in a store.

use super::CommandError;
use crate::{
    kms::{AlteredRows, KmsTables},
    secrets::{MasterSecret, OtherMasterSecret, StorageKey},
    store::Store,
};

/// Returns the altered rows. `secret` must be the master secret of the store's audit
/// log.
pub(super) async fn altered(
    store: &Store,
    secret: &MasterSecret,
) -> Result<AlteredRows, CommandError> {
    let Some(wrapped) = store.wrapped_storage_key().await? else {
        return Ok(AlteredRows::default());
    };
    match StorageKey::unwrap(&wrapped, secret) {
        Ok(storage_key) => Ok(AlteredRows::find(store, &storage_key).await?),
        // The audit log opened with this secret, so that the storage key's row is wrong.
        Err(OtherMasterSecret) => {
            let mut altered = AlteredRows::default();
            altered.add("the storage key".to_owned());
            Ok(altered)
        }
    }
}
