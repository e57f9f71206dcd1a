//! Opens the database for a gateway that serves. What a crash can have damaged is checked before,
//! and everything meanwhile: [`Store::check_in_use`].

use std::sync::Arc;

use super::database::{Check, NEWEST_ROWS, Sharing, Store, StoreError, StoreSettings};
use crate::audit::ChainKey;

/// Tables that hold what was done, up to the age that retention allows. The bounds of the spool
/// don't limit them. Rows are added at their end.
const GROWING: &[&str] = &["audit", "klf_issues"];

impl Store {
    /// Opens a database that must exist. Reads what a crash can have damaged, and refuses a damaged
    /// one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn open_to_serve(
        settings: &StoreSettings,
        chain_key: ChainKey,
    ) -> Result<Arc<Self>, StoreError> {
        let check = Check::AllButOld(GROWING);
        Self::open_with(settings, Some(chain_key), check, Sharing::WithOthers).await
    }

    /// Refuses a file whose newest audit entries don't follow the chain. The caller knows that the
    /// key is the log's: no entry follows the chain of another.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]. Others if the log can't be read.
    pub(crate) async fn require_newest_entries(&self) -> Result<(), StoreError> {
        let settings = self.settings();
        if settings.postgresql.is_some() {
            return Ok(());
        }
        let verified = self.verify_newest_audit(NEWEST_ROWS).await?;
        verified.map(drop).map_err(|broken| StoreError::Damaged {
            path: settings.path.clone(),
            found: broken.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::fs;

    use super::*;
    use crate::audit::{Entry, Event};
    use crate::store::Checked;
    use crate::store::testing::{TestStore, at, chain_key, request};

    const PAGE: usize = 4096;

    /// A closed store with more audit entries than are verified before serving.
    async fn old() -> TestStore {
        let test = TestStore::sqlite().await;
        for number in 0..30 {
            test.store.accept(request(number)).await.unwrap();
        }
        let mut entry = Entry::new(at(1), Event::Judged);
        entry.detail = Some("x".repeat(400));
        let filled = test.store.change(move |changes| {
            (0..2 * NEWEST_ROWS).try_for_each(|_| changes.audit(entry.clone()))
        });
        filled.await.unwrap();
        test.store.close().await;
        test
    }

    /// Opens it as `serve` does.
    async fn opened(test: &TestStore) -> Result<Arc<Store>, StoreError> {
        let store = Store::open_to_serve(&test.settings, chain_key()).await?;
        store.require_newest_entries().await?;
        Ok(store)
    }

    /// The text of the error, which must be one of damage.
    fn damage<T>(found: Result<T, StoreError>) -> String {
        let error = found.err().unwrap();
        assert!(error.is_damage(), "{error}");
        error.to_string()
    }

    async fn page_of(test: &TestStore, name: &str) -> usize {
        let root = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'");
        let page: i64 = test.scalar(&root).await;
        (usize::try_from(page).unwrap() - 1) * PAGE
    }

    fn overwrite(test: &TestStore, sound: &[u8], start: usize) {
        let mut content = sound.to_owned();
        content[start..start + 64].fill(0x5A);
        fs::write(&test.settings.path, content).unwrap();
    }

    #[tokio::test]
    async fn damage_that_a_crash_can_do_is_found_before_serving() {
        let test = old().await;
        let sound = fs::read(&test.settings.path).unwrap();
        let newest = sound
            .windows(12)
            .rposition(|bytes| bytes == b"xxxxxxxxxxxx")
            .unwrap();
        let mut places = vec![newest / PAGE * PAGE];
        for name in [
            "requests",
            "requests_of_sender",
            "request_messages",
            "identities",
            "audit",
            "klf_issues",
            "modules",
        ] {
            places.push(page_of(&test, name).await);
        }
        // Within the page of the schema, behind the header of the file.
        places.push(100);
        for place in places {
            overwrite(&test, &sound, place);
            let text = damage(opened(&test).await);
            assert!(text.contains("restore the backup"), "{place}: {text}");
        }
        fs::write(&test.settings.path, &sound).unwrap();
        opened(&test).await.unwrap().close().await;
    }

    #[tokio::test]
    async fn old_damage_is_found_while_serving_and_then_before() {
        let test = old().await;
        let sound = fs::read(&test.settings.path).unwrap();
        let oldest = sound
            .windows(12)
            .position(|bytes| bytes == b"xxxxxxxxxxxx")
            .unwrap();
        overwrite(&test, &sound, oldest / PAGE * PAGE);
        let store = opened(&test).await.unwrap();
        let found = damage(store.check_in_use().await);
        store.close().await;
        assert_eq!(damage(opened(&test).await), found);

        fs::write(&test.settings.path, &sound).unwrap();
        let store = opened(&test).await.unwrap();
        assert_eq!(store.check_in_use().await.unwrap(), Checked::Sound);
        store.close().await;
        // The next start need not doubt it any more.
        overwrite(&test, &sound, oldest / PAGE * PAGE);
        opened(&test).await.unwrap().close().await;
    }

    #[tokio::test]
    async fn the_newest_audit_entries_must_follow_the_chain() {
        let test = old().await;
        let newest: i64 = test.scalar("SELECT max(sequence) FROM audit").await;
        let alter = |sequence: i64| {
            format!(
                "UPDATE audit SET entry = replace(entry, 'xxx', 'yyy') WHERE sequence = {sequence}"
            )
        };
        let kept = i64::from(NEWEST_ROWS);
        test.execute(&alter(newest - kept)).await;
        opened(&test).await.unwrap().close().await;
        test.execute(&alter(newest - kept + 1)).await;
        let text = damage(opened(&test).await);
        let broken = format!("the audit log is broken at entry {}", newest - kept + 1);
        assert!(text.contains(&broken), "{text}");
    }

    #[tokio::test]
    async fn a_short_audit_log_is_verified_from_its_beginning() {
        let test = TestStore::sqlite().await;
        opened(&test).await.unwrap().close().await;
        for number in 0..3 {
            test.store.accept(request(number)).await.unwrap();
        }
        opened(&test).await.unwrap().close().await;
        test.execute("DELETE FROM audit WHERE sequence = 1").await;
        damage(opened(&test).await);
    }
}
