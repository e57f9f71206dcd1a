//! A change to another master secret or storage key. One process makes it alone, in one
//! transaction. Nothing of the replaced secrets stays in the file.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::changes::Outcome;
use super::tables;
use crate::audit::ChainKey;
use crate::faults::{self, FaultPoint};
use crate::store::audit::hand_over::hand_over;
use crate::store::database::{
    Changes, Check, Connection, DatabaseError, Failure, Sharing, Store, StoreError, StoreSettings,
    Text,
};
use crate::{
    kms::{Revision, SealedRows, TablesError},
    secrets::Sealed,
};

/// The secrets that replace those that were read.
pub(crate) struct SecretChange {
    pub(crate) at: Timestamp,
    /// Revision of the tables when they were read.
    pub(crate) revision: Revision,
    /// The storage key, wrapped anew. None if the tables have none.
    pub(crate) storage_key: Option<Sealed>,
    /// All rows, sealed under another storage key. None to keep the storage key.
    pub(crate) rows: Option<SealedRows>,
    /// The audit log's key under another master secret.
    pub(crate) chain_key: Option<ChainKey>,
}

/// A store that one process has alone.
pub(crate) struct StoreAlone(Arc<Store>);

impl StoreAlone {
    /// Opens the database if it is sound and no other process uses it.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::OtherChainKey`], and those of
    /// [`Store::open_checked`].
    pub(crate) async fn open(
        settings: &StoreSettings,
        chain_key: ChainKey,
    ) -> Result<Self, StoreError> {
        let opening = Store::open_with(settings, Some(chain_key), Check::Whole, Sharing::Alone);
        Ok(Self(opening.await?))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0
    }

    /// All rows that the storage key seals.
    pub(crate) async fn sealed_rows(&self) -> Result<SealedRows, StoreError> {
        self.0.read(tables::sealed_rows).await
    }

    /// Makes the change, whole or not at all, and then scrubs the file.
    ///
    /// # Errors
    /// After [`TablesError::Changed`] nothing is changed. After [`StoreError::NotScrubbed`] the
    /// change is made, but replaced content may still be in the file.
    pub(crate) async fn change(self, change: SecretChange) -> Result<(), TablesError> {
        self.0
            .change(move |changes| replace(&change, changes))
            .await??;
        faults::pass(FaultPoint::AfterSecretCommit);
        Ok(self.scrub().await?)
    }

    /// Builds the file anew without deleted content, and empties the write-ahead log, which has
    /// pages as they were before.
    ///
    /// # Errors
    /// [`StoreError::NotScrubbed`].
    pub(crate) async fn scrub(self) -> Result<(), StoreError> {
        self.0.close().await;
        let settings = self.0.settings().clone();
        let scrubbed = spawn_blocking(move || scrub(&settings)).await;
        let not_scrubbed = |cause| StoreError::NotScrubbed {
            place: self.0.settings().place(),
            cause,
        };
        match scrubbed {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(not_scrubbed(
                "another program reads the database".to_owned(),
            )),
            Ok(Err(error)) => Err(not_scrubbed(error.to_string())),
            Err(ended) => Err(not_scrubbed(ended.to_string())),
        }
    }

    /// Closes the store and changes nothing.
    pub(crate) async fn close(self) {
        self.0.close().await;
    }
}

/// Rebuilds what held secrets, and empties the log of changes. False if another program's reading
/// prevents that.
fn scrub(settings: &StoreSettings) -> Result<bool, DatabaseError> {
    let mut connection = Connection::writing(settings)?;
    connection.rebuild(&["storage_key", "kmc_keys", "modules", "vending_keys"])?;
    faults::pass(FaultPoint::AfterVacuum);
    let is_settled = connection.settle()?;
    connection.close()?;
    Ok(is_settled)
}

fn replace(change: &SecretChange, changes: &mut Changes<'_>) -> Result<Outcome, Failure> {
    if tables::revision(changes.connection)? != change.revision {
        let what = "a row of the key management system".to_owned();
        return Ok(Err(TablesError::Changed(what)));
    }
    if let Some(wrapped) = &change.storage_key {
        changes.connection.execute(
            "UPDATE storage_key SET wrapped = $1",
            &[&wrapped.as_bytes()],
        )?;
    }
    let resealed = match &change.rows {
        None => None,
        Some(rows) => {
            put(rows, changes.connection)?;
            let (kmc_keys, modules) = (rows.kmc_keys.len(), rows.modules.len());
            Some(format!(
                "storage key changed: {kmc_keys} KMC keys, {modules} modules and {} vending \
                     keys sealed anew",
                rows.vending_keys.len()
            ))
        }
    };
    if let Some(next) = &change.chain_key {
        let detail = "the storage key is wrapped and the audit log chained under the new one";
        hand_over(next, change.at, detail.to_owned(), changes)?;
    }
    let mut changes = Changes::on(
        &mut *changes.connection,
        changes.settings,
        change.chain_key.as_ref().or(changes.chain_key),
    );
    match resealed {
        Some(detail) => changes.kms_changed(change.at, detail)?,
        None => changes.count_revision()?,
    }
    // Whoever has the former secrets finds this, and changes nothing any more.
    changes
        .connection
        .execute("UPDATE writer SET secrets = secrets + 1", &[])?;
    faults::pass(FaultPoint::BeforeSecretCommit);
    Ok(Ok(()))
}

fn put(rows: &SealedRows, connection: &mut Connection) -> Result<(), DatabaseError> {
    for row in &rows.kmc_keys {
        connection.execute(
            "UPDATE kmc_keys SET sealed_private_key = $1 WHERE kmcid = $2",
            &[&row.sealed_private_key.as_bytes(), &Text(&row.kmcid)],
        )?;
        faults::pass(FaultPoint::AmidResealing);
    }
    for row in &rows.modules {
        connection.execute(
            "UPDATE modules SET sealed_dak = $1 WHERE smid = $2",
            &[&row.sealed_dak.as_bytes(), &Text(&row.smid)],
        )?;
        faults::pass(FaultPoint::AmidResealing);
    }
    for row in &rows.vending_keys {
        connection.execute(
            "UPDATE vending_keys SET sealed_key = $1 WHERE sgc = $2 AND krn = $3",
            &[
                &row.sealed_key.as_bytes(),
                &Text(row.attributes.sgc),
                &Text(row.attributes.krn),
            ],
        )?;
        faults::pass(FaultPoint::AmidResealing);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::audit::{BrokenAt, Entry, Event, Fault, Head};
    use crate::kms::KmsTables;
    use crate::store::Store;
    use crate::store::testing::{
        TestStore, at, chain_key, kmc_key_row, module_row, vending_key_row,
    };

    const OLD: &[u8] = b"the wrapping of old";
    const NEW: &[u8] = b"the wrapping of now";

    fn next_key() -> ChainKey {
        ChainKey::new(&[8; 32])
    }

    /// A closed store with four audit entries and a storage key.
    async fn filled() -> TestStore {
        let test = TestStore::new().await;
        let wrapped = Sealed::from_bytes(OLD.to_vec());
        test.store.set_wrapped_storage_key(wrapped).await.unwrap();
        test.store.add_kmc_key(kmc_key_row(), at(1)).await.unwrap();
        test.store.add_module(module_row(), at(2)).await.unwrap();
        for sgc in ["000439", "123456"] {
            let row = vending_key_row(sgc);
            test.store.add_vending_key(row, at(3)).await.unwrap();
        }
        test.store.close().await;
        test
    }

    async fn alone(test: &TestStore) -> StoreAlone {
        StoreAlone::open(&test.settings, chain_key()).await.unwrap()
    }

    /// The change to the next key.
    async fn changed(test: &TestStore) {
        let alone = alone(test).await;
        let change = SecretChange {
            at: at(9),
            revision: alone.sealed_rows().await.unwrap().revision,
            storage_key: Some(Sealed::from_bytes(NEW.to_vec())),
            rows: None,
            chain_key: Some(next_key()),
        };
        alone.change(change).await.unwrap();
    }

    async fn open(test: &TestStore, key: ChainKey) -> Result<Arc<Store>, StoreError> {
        Store::open(&test.settings, Some(key)).await
    }

    async fn verified(store: &Store, from: Option<Head>) -> Result<Head, BrokenAt> {
        store.verify_audit(from).await.unwrap()
    }

    fn is_in(test: &TestStore, text: &[u8]) -> bool {
        ["", "-wal"].iter().any(|suffix| {
            fs::read(format!("{}{suffix}", test.settings.path.display()))
                .is_ok_and(|content| content.windows(text.len()).any(|window| window == text))
        })
    }

    #[tokio::test]
    async fn the_log_goes_on_under_the_next_key_and_verifies_whole() {
        let test = filled().await;
        let kept = open(&test, chain_key()).await.unwrap();
        let head = kept.audit_head().await.unwrap();
        kept.close().await;
        changed(&test).await;
        let store = open(&test, next_key()).await.unwrap();
        assert_eq!(store.hand_overs(), [5]);
        let entry = Entry::new(at(10), Event::Judged);
        store.note_rejected(entry).await.unwrap();
        assert_eq!(verified(&store, None).await.unwrap().sequence, 6);
        assert_eq!(verified(&store, Some(head)).await.unwrap().sequence, 6);
        let events: Vec<Event> = test_events(&store).await;
        assert_eq!(events.get(4), Some(&Event::MasterSecretChanged));

        let refused = open(&test, chain_key()).await.err().unwrap();
        assert!(
            matches!(refused, StoreError::OtherChainKey { .. }),
            "{refused}"
        );
        let reader = Store::open(&test.settings, None).await.unwrap();
        assert_eq!(test_events(&reader).await.len(), 6);
    }

    async fn test_events(store: &Store) -> Vec<Event> {
        let entries = store.audit_entries(1, 99).await.unwrap();
        entries
            .iter()
            .map(|stored| stored.entry().unwrap().event)
            .collect()
    }

    #[tokio::test]
    async fn what_is_done_to_either_side_of_a_hand_over_shows() {
        for (edit, sequence, fault) in [
            (
                "UPDATE audit SET entry = '{}' WHERE sequence = 2",
                2,
                Fault::Link,
            ),
            (
                "UPDATE audit SET entry = '{}' WHERE sequence = 5",
                5,
                Fault::Link,
            ),
            ("DELETE FROM audit WHERE sequence = 4", 4, Fault::Missing),
            ("DELETE FROM audit_hand_overs", 1, Fault::Link),
        ] {
            let test = filled().await;
            changed(&test).await;
            test.execute(edit).await;
            let store = open(&test, next_key()).await.unwrap();
            let broken = verified(&store, None).await.unwrap_err();
            assert_eq!(broken, BrokenAt { sequence, fault }, "{edit}");
        }
        let test = filled().await;
        changed(&test).await;
        test.execute("UPDATE audit_hand_overs SET sequence = 4")
            .await;
        assert!(open(&test, next_key()).await.is_err());
    }

    #[tokio::test]
    async fn retention_cuts_across_a_hand_over_and_the_key_before_goes_too() {
        for (before, left) in [(3, 1), (9, 0), (10, 0)] {
            let test = filled().await;
            changed(&test).await;
            let store = open(&test, next_key()).await.unwrap();
            store
                .prune_audit(at(before), at(20))
                .await
                .unwrap()
                .unwrap();
            store.close().await;
            let store = open(&test, next_key()).await.unwrap();
            assert_eq!(store.hand_overs().len(), left, "{before}");
            assert!(verified(&store, None).await.is_ok(), "{before}");
        }
    }

    #[tokio::test]
    async fn an_anchor_is_made_anew_only_if_it_is_authentic() {
        for falsify in [false, true] {
            let test = filled().await;
            let store = open(&test, chain_key()).await.unwrap();
            store.prune_audit(at(3), at(8)).await.unwrap().unwrap();
            store.close().await;
            if falsify {
                test.execute("UPDATE audit_anchor SET authenticator = link")
                    .await;
            }
            changed(&test).await;
            let store = open(&test, next_key()).await.unwrap();
            let verified = verified(&store, None).await;
            assert_eq!(verified.is_err(), falsify, "{verified:?}");
        }
    }

    #[tokio::test]
    async fn rows_are_changed_with_the_storage_key_and_told_of() {
        let test = filled().await;
        let alone = alone(&test).await;
        let mut rows = alone.sealed_rows().await.unwrap();
        let anew = Sealed::from_bytes(vec![42; 40]);
        for row in &mut rows.kmc_keys {
            row.sealed_private_key = anew.clone();
        }
        for row in &mut rows.modules {
            row.sealed_dak = anew.clone();
        }
        for row in &mut rows.vending_keys {
            row.sealed_key = anew.clone();
        }
        let change = SecretChange {
            at: at(9),
            revision: rows.revision,
            storage_key: Some(Sealed::from_bytes(NEW.to_vec())),
            rows: Some(rows.clone()),
            chain_key: None,
        };
        alone.change(change).await.unwrap();
        // Of a server's files the tests know nothing.
        if test.settings.postgresql.is_none() {
            assert!(is_in(&test, NEW) && !is_in(&test, OLD), "scrubbed");
        }

        let again = StoreAlone::open(&test.settings, chain_key()).await.unwrap();
        let read = again.sealed_rows().await.unwrap();
        assert_eq!(read.modules, rows.modules);
        assert_eq!(read.vending_keys, rows.vending_keys);
        assert_eq!(read.kmc_keys, rows.kmc_keys);
        assert_eq!(read.revision.0, rows.revision.0 + 1);
        let entries = again.store().audit_entries(5, 1).await.unwrap();
        let noted = entries.first().unwrap().entry().unwrap().detail.unwrap();
        assert!(
            noted.ends_with("1 KMC keys, 1 modules and 2 vending keys sealed anew"),
            "{noted}"
        );
        assert!(again.store().verify_audit(None).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn rows_that_changed_since_are_not_overwritten() {
        let test = filled().await;
        let alone = alone(&test).await;
        let change = SecretChange {
            at: at(9),
            revision: Revision(1),
            storage_key: Some(Sealed::from_bytes(NEW.to_vec())),
            rows: None,
            chain_key: Some(next_key()),
        };
        let refused = alone.change(change).await;
        assert!(matches!(refused, Err(TablesError::Changed(_))));
        assert!(open(&test, chain_key()).await.is_ok(), "as it was");
    }

    #[tokio::test]
    async fn one_alone_and_others_exclude_each_other() {
        let test = TestStore::sqlite().await;
        test.store.close().await;
        let other = open(&test, chain_key()).await.unwrap();
        let refused = StoreAlone::open(&test.settings, chain_key()).await;
        assert!(matches!(refused.err(), Some(StoreError::InUse { .. })));
        other.close().await;
        let alone = alone(&test).await;
        let refused = open(&test, chain_key()).await.err();
        assert!(matches!(
            refused,
            Some(StoreError::SecretsBeingChanged { .. })
        ));
        alone.close().await;
        assert!(open(&test, chain_key()).await.is_ok());
    }

    /// Whoever adds a sealed column must seal it anew too: `SealedRows`, `put`.
    #[tokio::test]
    async fn no_sealed_column_is_forgotten() {
        let test = TestStore::sqlite().await;
        let columns: String = test
            .scalar(
                "SELECT string_agg(tables.name || '.' || columns.name, ' ' ORDER BY tables.name)
                 FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
                 WHERE columns.name LIKE '%sealed%' OR columns.name LIKE '%wrapped%'",
            )
            .await;
        assert_eq!(
            columns.split(' ').collect::<Vec<_>>(),
            [
                // Under the audit log's own keys.
                "audit_hand_overs.sealed_key",
                "kmc_keys.sealed_private_key",
                "modules.sealed_dak",
                // Under the master secret.
                "storage_key.wrapped",
                "vending_keys.sealed_key",
            ]
        );
    }
}
