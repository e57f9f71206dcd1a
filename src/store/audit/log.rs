//! The table of the audit log: appended, read and verified.

use crate::audit::{Anchor, BrokenAt, ChainKey, Entry, Fault, Head, Link};
use crate::store::database::{Changes, Connection, DatabaseError, Failure, Row, Store, StoreError};

/// Entries held in memory while the chain is verified.
const PAGE: u32 = 1_000;

/// An audit entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Sequence number and link.
    pub(crate) head: Head,
    /// Canonical text.
    pub(crate) json: String,
}

impl StoredEntry {
    /// Reads the entry.
    ///
    /// # Errors
    /// If the stored text is not an entry, or one of a newer version.
    pub fn entry(&self) -> Result<Entry, serde_json::Error> {
        Entry::from_json(&self.json)
    }

    /// Verifies that this entry continues the chain. Returns its head.
    pub(super) fn follows(&self, head: Head, key: &ChainKey) -> Result<Head, BrokenAt> {
        let Head { sequence, link } = &self.head;
        head.follow(key, *sequence, self.json.as_bytes(), link)
    }
}

impl Store {
    /// At most `limit` audit entries in order, beginning with sequence number `from`.
    pub async fn audit_entries(
        &self,
        from: i64,
        limit: u32,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.read(move |connection| entries(connection, from, limit))
            .await
    }

    /// Sequence number and link of the newest audit entry.
    pub async fn audit_head(&self) -> Result<Head, StoreError> {
        self.read(head).await
    }

    /// Verifies the audit log from its beginning, which is the anchor if retention left one. With
    /// `from` it begins there, at a head that was kept elsewhere and must be in the log.
    pub async fn verify_audit(
        &self,
        from: Option<Head>,
    ) -> Result<Result<Head, BrokenAt>, StoreError> {
        let key = self
            .chain_key()
            .ok_or_else(|| self.failed(Failure::NoChainKey))?;
        self.read(move |connection| verify(connection, &key, from))
            .await
    }

    /// The entries at which the audit log's chain passed to the key of another master secret. They
    /// are as they were when the store was opened with that key.
    pub(crate) fn hand_overs(&self) -> Vec<i64> {
        let key = self.chain_key();
        key.map_or_else(Vec::new, |key| key.hand_overs().collect())
    }
}

impl Changes<'_> {
    /// Appends an entry in the transaction of the change that it records.
    pub(crate) fn audit(&mut self, entry: Entry) -> Result<(), Failure> {
        let key = self.chain_key.ok_or(Failure::NoChainKey)?;
        let json = self
            .named(entry)
            .canonical_json()
            .map_err(DatabaseError::encode)?;
        let head = head(self.connection)?.append(key, json.as_bytes());
        self.connection.execute(
            "INSERT INTO audit (sequence, link, entry) VALUES ($1, $2, $3)",
            &[&head.sequence, &head.link.0, &json],
        )?;
        Ok(())
    }

    /// The entry with the name of this gateway. An entry that was counted keeps the name of the
    /// gateway that counted it.
    pub(super) fn named(&self, mut entry: Entry) -> Entry {
        let own = &self.settings.node;
        if !own.is_empty() {
            entry.node.get_or_insert_with(|| own.clone());
        }
        entry
    }
}

/// Sequence number and link of the newest entry, or of the anchor if none is left.
pub(crate) fn head(connection: &mut Connection) -> Result<Head, DatabaseError> {
    let newest = connection.optional(
        "SELECT sequence, link FROM audit ORDER BY sequence DESC LIMIT 1",
        &[],
    )?;
    match newest {
        Some(row) => read_head(&row),
        None => Ok(anchor(connection)?.map_or(Head::EMPTY, |anchor| anchor.head)),
    }
}

/// At most `limit` entries in order, beginning with `from`.
pub(super) fn entries(
    connection: &mut Connection,
    from: i64,
    limit: u32,
) -> Result<Vec<StoredEntry>, DatabaseError> {
    let rows = connection.all(
        "SELECT sequence, link, entry FROM audit WHERE sequence >= $1 ORDER BY sequence LIMIT $2",
        &[&from, &limit],
    )?;
    rows.iter().map(read_stored).collect()
}

/// The entries that contain one of these texts, in order.
pub(crate) fn entries_with(
    [one, other]: &[String; 2],
    connection: &mut Connection,
) -> Result<Vec<StoredEntry>, DatabaseError> {
    // An entry without the text is the same when the text is taken out. Both engines know replace.
    let rows = connection.all(
        "SELECT sequence, link, entry FROM audit
         WHERE replace(entry, $1, '') <> entry OR replace(entry, $2, '') <> entry
         ORDER BY sequence",
        &[one, other],
    )?;
    rows.iter().map(read_stored).collect()
}

/// Follows the chain to its end. Needs a transaction, so that the log doesn't change meanwhile.
pub(crate) fn verify(
    connection: &mut Connection,
    key: &ChainKey,
    from: Option<Head>,
) -> Result<Result<Head, BrokenAt>, DatabaseError> {
    let begin = match from {
        Some(head) => find(connection, head)?,
        None => beginning(key, connection)?,
    };
    let mut head = match begin {
        Ok(head) => head,
        Err(broken) => return Ok(Err(broken)),
    };
    // From the very first row, to find forged entries before the beginning.
    let mut next = if from.is_some() {
        head.sequence + 1
    } else {
        i64::MIN
    };
    loop {
        let page = entries(connection, next, PAGE)?;
        if page.is_empty() {
            return Ok(Ok(head));
        }
        let mut stored = page.iter();
        match stored.try_fold(head, |head, stored| stored.follows(head, key)) {
            Ok(last) => head = last,
            broken => return Ok(broken),
        }
        next = head.sequence + 1;
    }
}

/// The head before the oldest entry, which is the anchor if retention left one.
pub(super) fn beginning(
    key: &ChainKey,
    connection: &mut Connection,
) -> Result<Result<Head, BrokenAt>, DatabaseError> {
    let anchor = anchor(connection)?;
    Ok(anchor.map_or(Ok(Head::EMPTY), |anchor| anchor.check(key)))
}

/// The head again, if it is in the log.
fn find(connection: &mut Connection, head: Head) -> Result<Result<Head, BrokenAt>, DatabaseError> {
    let anchor = anchor(connection)?.map_or(Head::EMPTY, |anchor| anchor.head);
    let found = entries(connection, head.sequence, 1)?;
    let is_there = head == anchor || found.iter().any(|stored| stored.head == head);
    let fault = if head.sequence < anchor.sequence {
        Fault::Cut
    } else {
        Fault::Head
    };
    Ok(is_there.then_some(head).ok_or(BrokenAt {
        sequence: head.sequence,
        fault,
    }))
}

/// The last of the entries that retention cut off.
pub(super) fn anchor(connection: &mut Connection) -> Result<Option<Anchor>, DatabaseError> {
    let row = connection.optional(
        "SELECT sequence, link, authenticator FROM audit_anchor",
        &[],
    )?;
    row.map(|row| {
        Ok(Anchor {
            head: read_head(&row)?,
            authenticator: read_link(&row, "authenticator")?,
        })
    })
    .transpose()
}

pub(super) fn set_anchor(anchor: Anchor, connection: &mut Connection) -> Result<(), DatabaseError> {
    let Head { sequence, link } = anchor.head;
    connection.execute(
        "INSERT INTO audit_anchor (id, sequence, link, authenticator) VALUES (1, $1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, link = excluded.link,
             authenticator = excluded.authenticator",
        &[&sequence, &link.0, &anchor.authenticator.0],
    )?;
    Ok(())
}

fn read_stored(row: &Row) -> Result<StoredEntry, DatabaseError> {
    Ok(StoredEntry {
        head: read_head(row)?,
        json: row.get("entry")?,
    })
}

fn read_head(row: &Row) -> Result<Head, DatabaseError> {
    Ok(Head {
        sequence: row.get("sequence")?,
        link: read_link(row, "link")?,
    })
}

fn read_link(row: &Row, column: &str) -> Result<Link, DatabaseError> {
    row.get(column).map(Link)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::Event;
    use crate::store::testing::{TestStore, at, chain_key};
    use crate::store::{Store, StoreError};

    /// A log of five entries.
    async fn five() -> TestStore {
        let test = TestStore::new().await;
        for second in 1..=5 {
            let mut entry = Entry::new(at(second), Event::Judged);
            entry.rule = Some(format!("rule-{second}"));
            test.append(entry).await;
        }
        test
    }

    async fn verify(test: &TestStore, from: Option<Head>) -> Result<Head, BrokenAt> {
        test.store.verify_audit(from).await.unwrap()
    }

    async fn head_of(test: &TestStore, sequence: i64) -> Head {
        test.store
            .audit_entries(sequence, 1)
            .await
            .unwrap()
            .first()
            .unwrap()
            .head
    }

    #[tokio::test]
    async fn entries_come_back_in_order_and_their_chain_holds() {
        let test = five().await;
        let entries = test.store.audit_entries(2, 3).await.unwrap();
        let seen: Vec<_> = entries
            .iter()
            .map(|stored| (stored.head.sequence, stored.entry().unwrap().rule.unwrap()))
            .collect();
        assert_eq!(
            seen,
            [2, 3, 4].map(|number| (number, format!("rule-{number}")))
        );

        let head = test.store.audit_head().await.unwrap();
        assert_eq!(head.sequence, 5);
        assert_eq!(verify(&test, None).await, Ok(head));
        assert_eq!(verify(&test, Some(head)).await, Ok(head));
        assert_eq!(verify(&test, Some(head_of(&test, 2).await)).await, Ok(head));
        assert_eq!(verify(&test, Some(Head::EMPTY)).await, Ok(head));
    }

    #[tokio::test]
    async fn an_entry_names_its_gateway_and_one_without_a_name_holds_too() {
        let test = five().await;
        let mut settings = test.settings.clone();
        settings.node = "mx1".to_owned();
        let named = Store::open(&settings, Some(chain_key())).await.unwrap();
        let entry = Entry::new(at(6), Event::Judged);
        let appended = named
            .change(move |changes| changes.audit(entry.clone()))
            .await;
        appended.unwrap();
        named.close().await;
        let entries = test.store.audit_entries(5, 2).await.unwrap();
        let nodes = entries.iter().map(|stored| stored.entry().unwrap().node);
        assert_eq!(nodes.collect::<Vec<_>>(), [None, Some("mx1".to_owned())]);
        assert_eq!(verify(&test, None).await.unwrap().sequence, 6);
    }

    #[tokio::test]
    async fn an_empty_log_holds() {
        let test = TestStore::new().await;
        assert_eq!(test.store.audit_head().await.unwrap(), Head::EMPTY);
        assert_eq!(verify(&test, None).await, Ok(Head::EMPTY));
    }

    #[tokio::test]
    async fn every_edit_shows_at_the_first_bad_entry() {
        let edits: [(&[&'static str], _, _); 11] = [
            (
                &["UPDATE audit SET entry = replace(entry, 'rule-3', 'rule-2') WHERE sequence = 3"],
                3,
                Fault::Link,
            ),
            (
                &["UPDATE audit SET entry = entry || ' ' WHERE sequence = 1"],
                1,
                Fault::Link,
            ),
            (
                &[
                    "UPDATE audit SET link = (SELECT link FROM audit WHERE sequence = 5)
                WHERE sequence = 4",
                ],
                4,
                Fault::Link,
            ),
            (&["DELETE FROM audit WHERE sequence = 3"], 3, Fault::Missing),
            (
                &["DELETE FROM audit WHERE sequence <= 2"],
                1,
                Fault::Missing,
            ),
            (
                &[
                    "DELETE FROM audit WHERE sequence = 3",
                    "UPDATE audit SET sequence = sequence - 1 WHERE sequence = 4",
                    "UPDATE audit SET sequence = sequence - 1 WHERE sequence = 5",
                ],
                3,
                Fault::Link,
            ),
            (
                &[
                    "UPDATE audit SET sequence = -2 WHERE sequence = 2",
                    "UPDATE audit SET sequence = 2 WHERE sequence = 3",
                    "UPDATE audit SET sequence = 3 WHERE sequence = -2",
                ],
                2,
                Fault::Link,
            ),
            (
                &["INSERT INTO audit SELECT 0, link, entry FROM audit WHERE sequence = 1"],
                0,
                Fault::Link,
            ),
            (
                &["INSERT INTO audit SELECT 6, link, entry FROM audit WHERE sequence = 5"],
                6,
                Fault::Link,
            ),
            (
                &["INSERT INTO audit SELECT 7, link, entry FROM audit WHERE sequence = 5"],
                6,
                Fault::Missing,
            ),
            (
                &[
                    "INSERT INTO audit_anchor SELECT 1, sequence, link, link FROM audit
                WHERE sequence = 2",
                    "DELETE FROM audit WHERE sequence <= 2",
                ],
                2,
                Fault::Anchor,
            ),
        ];
        for (edit, sequence, fault) in edits {
            let test = five().await;
            for statement in edit {
                test.execute(statement).await;
            }
            assert_eq!(
                verify(&test, None).await,
                Err(BrokenAt { sequence, fault }),
                "{edit:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_cut_tail_shows_only_against_a_head_kept_elsewhere() {
        let test = five().await;
        let kept = test.store.audit_head().await.unwrap();
        let third = head_of(&test, 3).await;
        test.execute("DELETE FROM audit WHERE sequence > 3").await;
        assert_eq!(verify(&test, None).await, Ok(third));
        let broken = BrokenAt {
            sequence: 5,
            fault: Fault::Head,
        };
        assert_eq!(verify(&test, Some(kept)).await, Err(broken));

        for second in 6..=7 {
            test.append(Entry::new(at(second), Event::Judged)).await;
        }
        assert_eq!(test.store.audit_head().await.unwrap().sequence, 5);
        assert!(verify(&test, None).await.is_ok());
        assert_eq!(verify(&test, Some(kept)).await, Err(broken));
    }

    #[tokio::test]
    async fn what_comes_after_a_kept_head_is_verified() {
        let test = five().await;
        let second = head_of(&test, 2).await;
        test.execute("UPDATE audit SET entry = '{}' WHERE sequence = 4")
            .await;
        let broken = BrokenAt {
            sequence: 4,
            fault: Fault::Link,
        };
        assert_eq!(verify(&test, Some(second)).await, Err(broken));
    }

    #[tokio::test]
    async fn an_authentic_anchor_stands_for_what_was_cut() {
        for kept in [3, 0] {
            let test = five().await;
            let head = test.store.audit_head().await.unwrap();
            let first = head_of(&test, 1).await;
            let anchor = Anchor::new(&chain_key(), head_of(&test, 5 - kept).await);
            let cut = test.store.change(move |changes| {
                set_anchor(anchor, changes.connection)?;
                changes.connection.execute(
                    "DELETE FROM audit WHERE sequence <= $1",
                    &[&anchor.head.sequence],
                )?;
                Ok(())
            });
            cut.await.unwrap();
            assert_eq!(verify(&test, None).await, Ok(head));
            assert_eq!(verify(&test, Some(anchor.head)).await, Ok(head));
            let cut = BrokenAt {
                sequence: 1,
                fault: Fault::Cut,
            };
            assert_eq!(verify(&test, Some(first)).await, Err(cut));

            test.append(Entry::new(at(9), Event::Judged)).await;
            assert_eq!(verify(&test, None).await.unwrap().sequence, 6);
        }
    }

    #[tokio::test]
    async fn the_chain_goes_on_through_a_long_log() {
        let test = TestStore::new().await;
        let notes = PAGE + 3;
        for _ in 0..notes {
            test.append(Entry::new(at(1), Event::Judged)).await;
        }
        assert_eq!(
            verify(&test, None).await.unwrap().sequence,
            i64::from(notes)
        );
    }

    #[tokio::test]
    async fn without_its_key_the_log_is_read_and_nothing_is_written() {
        let test = five().await;
        let store = Store::open(&test.settings, None).await.unwrap();
        assert_eq!(store.audit_entries(1, 9).await.unwrap().len(), 5);
        let refused = store
            .note_ignored(Entry::new(at(6), Event::Judged), None)
            .await
            .unwrap_err();
        assert!(matches!(refused, StoreError::NoChainKey { .. }));
        assert!(matches!(
            store.verify_audit(None).await,
            Err(StoreError::NoChainKey { .. })
        ));
        assert_eq!(test.store.audit_head().await.unwrap().sequence, 5);
    }
}
