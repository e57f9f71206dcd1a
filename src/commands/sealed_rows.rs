//! The sealed rows of an installation, opened for an operator.

use super::CommandError;
use crate::{
    kms::{AlteredRows, KmsTables, MasterSecret, StorageKey, StorageKeyError},
    store::Store,
};

/// Those that somebody altered, of a store that this master secret opens.
pub(super) async fn altered(
    store: &Store,
    secret: &MasterSecret,
) -> Result<AlteredRows, CommandError> {
    let Some(wrapped) = store.wrapped_storage_key().await? else {
        return Ok(AlteredRows::default());
    };
    match StorageKey::unwrap(&wrapped, secret) {
        Ok(storage_key) => Ok(AlteredRows::find(store, &storage_key).await?),
        // The master secret is the right one: it opens the audit log's key.
        Err(StorageKeyError::OtherMasterSecret) => {
            let mut altered = AlteredRows::default();
            altered.add("the storage key".to_owned());
            Ok(altered)
        }
        Err(error) => Err(error.into()),
    }
}
