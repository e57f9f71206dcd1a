//! Cuts the oldest entries off the audit log and leaves the anchor.

use jiff::Timestamp;

use super::log::{beginning, entries, set_anchor};
use crate::audit::{Anchor, BrokenAt, Entry, Event};
use crate::store::database::{Changes, Connection, DatabaseError, Failure, Store, StoreError};

/// Entries that one transaction cuts at most, so that no request waits long for the writer.
const CUT: u32 = 5_000;

impl Store {
    /// Cuts audit entries older than `before` off the old end, leaves the anchor, and audits this
    /// with the time `at`. Returns how many were cut, some thousands at most: there may be more.
    /// A chain that is broken there is evidence, and is left as it is.
    pub(crate) async fn prune_audit(
        &self,
        before: Timestamp,
        at: Timestamp,
    ) -> Result<Result<u64, BrokenAt>, StoreError> {
        self.change(move |changes| prune(before, at, changes)).await
    }
}

fn prune(
    before: Timestamp,
    at: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<Result<u64, BrokenAt>, Failure> {
    let key = changes.chain_key.ok_or(Failure::NoChainKey)?;
    let mut head = match beginning(key, changes.connection)? {
        Ok(head) => head,
        Err(broken) => return Ok(Err(broken)),
    };
    let first = head.sequence + 1;
    for stored in entries(changes.connection, i64::MIN, CUT)? {
        if !stored.entry().is_ok_and(|entry| entry.time < before) {
            break;
        }
        match stored.follows(head, key) {
            Ok(next) => head = next,
            Err(broken) => return Ok(Err(broken)),
        }
    }
    if head.sequence < first {
        return Ok(Ok(0));
    }
    cut(Anchor::new(key, head), changes.connection)?;
    let count = u64::try_from(head.sequence - first + 1).unwrap_or_default();
    changes.audit(Entry {
        count: Some(count),
        detail: Some(format!(
            "entries {first} to {} cut, which are older than {before}",
            head.sequence
        )),
        ..Entry::new(at, Event::Pruned)
    })?;
    Ok(Ok(count))
}

fn cut(anchor: Anchor, connection: &mut Connection) -> Result<(), DatabaseError> {
    let sequence = anchor.head.sequence;
    set_anchor(anchor, connection)?;
    // No entry that is kept was written under these keys.
    connection.execute(
        "DELETE FROM audit_hand_overs WHERE sequence <= $1",
        &[&(sequence + 1)],
    )?;
    connection.execute("DELETE FROM audit WHERE sequence <= $1", &[&sequence])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::Fault;
    use crate::store::testing::{TestStore, at};

    /// A log with an entry at each of these seconds.
    async fn log_of(seconds: &[i64]) -> TestStore {
        let test = TestStore::new().await;
        for &second in seconds {
            let entry = Entry::new(at(second), Event::Judged);
            test.append(entry).await;
        }
        test
    }

    async fn prune(test: &TestStore, before: i64) -> Result<u64, BrokenAt> {
        test.store.prune_audit(at(before), at(100)).await.unwrap()
    }

    async fn kept(test: &TestStore) -> Vec<(i64, Event)> {
        let entries = test.store.audit_entries(1, 100).await.unwrap();
        entries
            .iter()
            .map(|stored| (stored.head.sequence, stored.entry().unwrap().event))
            .collect()
    }

    #[tokio::test]
    async fn what_is_old_goes_and_the_chain_holds() {
        let test = log_of(&[1, 2, 3, 4]).await;
        assert_eq!(prune(&test, 1).await, Ok(0));
        assert_eq!(prune(&test, 3).await, Ok(2));
        let expected = [(3, Event::Judged), (4, Event::Judged), (5, Event::Pruned)];
        assert_eq!(kept(&test).await, expected);
        assert!(test.store.verify_audit(None).await.unwrap().is_ok());

        assert_eq!(prune(&test, 50).await, Ok(2));
        assert_eq!(kept(&test).await, [(5, Event::Pruned), (6, Event::Pruned)]);
        assert_eq!(
            test.store
                .verify_audit(None)
                .await
                .unwrap()
                .unwrap()
                .sequence,
            6
        );
        assert_eq!(prune(&test, 101).await, Ok(2), "all of it may go");
        assert_eq!(kept(&test).await, [(7, Event::Pruned)]);
        assert_eq!(
            test.store
                .verify_audit(None)
                .await
                .unwrap()
                .unwrap()
                .sequence,
            7
        );
    }

    #[tokio::test]
    async fn nothing_behind_a_younger_entry_is_cut() {
        let test = log_of(&[1, 60, 2]).await;
        assert_eq!(prune(&test, 50).await, Ok(1));
        assert_eq!(kept(&test).await.len(), 3);
    }

    #[tokio::test]
    async fn a_broken_chain_is_not_cut_away() {
        for (edit, sequence, fault) in [
            (
                "UPDATE audit SET link = (SELECT link FROM audit WHERE sequence = 1)
                 WHERE sequence = 2",
                2,
                Fault::Link,
            ),
            ("DELETE FROM audit WHERE sequence = 1", 1, Fault::Missing),
            (
                "INSERT INTO audit_anchor SELECT 1, 0, link, link FROM audit WHERE sequence = 1",
                0,
                Fault::Anchor,
            ),
        ] {
            let test = log_of(&[1, 2, 3]).await;
            test.execute(edit).await;
            let before = kept(&test).await;
            assert_eq!(
                prune(&test, 50).await,
                Err(BrokenAt { sequence, fault }),
                "{edit}"
            );
            assert_eq!(kept(&test).await, before, "{edit}");
        }
    }
}
