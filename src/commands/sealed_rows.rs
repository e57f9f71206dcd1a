//! The sealed rows of an installation, opened for an operator.

use super::CommandError;
use crate::{
    kms::{AlteredRows, KmsTables},
    secrets::{MasterSecret, OtherMasterSecret, StorageKey},
    store::SqliteStore,
};

/// Those that somebody altered, of a store that this master secret opens.
pub(super) async fn altered(
    store: &SqliteStore,
    secret: &MasterSecret,
) -> Result<AlteredRows, CommandError> {
    let Some(wrapped) = store.wrapped_storage_key().await? else {
        return Ok(AlteredRows::default());
    };
    match StorageKey::unwrap(&wrapped, secret) {
        Ok(storage_key) => Ok(AlteredRows::find(store, &storage_key).await?),
        // The master secret is the right one: it opens the audit log's key.
        Err(OtherMasterSecret) => {
            let mut altered = AlteredRows::default();
            altered.add("the storage key".to_owned());
            Ok(altered)
        }
    }
}
