//! Audit entries that may come in floods. The first is appended. Further ones of the same kind
//! within a minute are counted, and one entry has the count.
//!
//! A kind is one rule and one client network. Strangers choose their networks, so that only so
//! many kinds are counted by themselves, and all others together.

use jiff::{SignedDuration, Timestamp};

use crate::audit::{Entry, Event};
use crate::policy::ClientNetwork;
use crate::store::database::{
    Changes, Connection, DatabaseError, Failure, Row, Store, StoreError, room,
};

/// Time in which entries of one kind are counted into one.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// Kinds of one rule that are counted by themselves.
const KINDS: i64 = 32;

/// Stands for the network in the kind of all others.
const OTHERS: &str = "others";

impl Store {
    /// Appends the audit entry of ignored mail, or counts it. Within a minute only the first entry
    /// of one rule and client network is appended. Duplicates and mail of blocked senders that
    /// [`Store::accept`] does not take are counted in the same way.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] where the reserve of the file system begins.
    pub(crate) async fn note_ignored(
        &self,
        entry: Entry,
        network: Option<ClientNetwork>,
    ) -> Result<(), StoreError> {
        self.change(move |changes| {
            room::require(0, changes)?;
            note_by_network(&entry, network, changes)
        })
        .await
    }

    /// Appends or counts the audit entry of rejected mail. All entries of a rule are one kind. They
    /// may use the reserve of the file system.
    pub(crate) async fn note_rejected(&self, entry: Entry) -> Result<(), StoreError> {
        self.change(move |changes| note(rule(&entry), &entry, changes))
            .await
    }

    /// Appends counts older than a minute, and forgets kinds that have become quiet.
    pub(crate) async fn settle_counts(&self, now: Timestamp) -> Result<(), StoreError> {
        self.change(move |changes| settle(now, changes)).await
    }
}

/// Appends an entry, or counts it with those of its rule and client network.
pub(crate) fn note_by_network(
    entry: &Entry,
    network: Option<ClientNetwork>,
    changes: &mut Changes<'_>,
) -> Result<(), Failure> {
    let mut kind = match network {
        Some(network) => format!("{} {network}", rule(entry)),
        None => rule(entry).to_owned(),
    };
    // The entry of a duplicate names the request that it is a copy of.
    if let (Event::Duplicate, Some(original)) = (entry.event, &entry.request_id) {
        kind = format!("{kind} {original}");
    }
    // A rule that is counted as a whole needs no place among its networks.
    let is_whole_rule = kind == rule(entry);
    let mut entry = entry.clone();
    if is_whole_rule || is_by_itself(&kind, rule(&entry), changes.connection)? {
        entry.network = network.map(|network| network.to_string());
        return note(&kind, &entry, changes);
    }
    entry.network = Some(OTHERS.to_owned());
    note(&format!("{} {OTHERS}", rule(&entry)), &entry, changes)
}

/// The rule that decided, or the event if none did.
fn rule(entry: &Entry) -> &str {
    entry.rule.as_deref().unwrap_or(entry.event.as_str())
}

/// Whether a kind is counted already, or has a place among those of its rule.
fn is_by_itself(
    kind: &str,
    rule: &str,
    connection: &mut Connection,
) -> Result<bool, DatabaseError> {
    // '!' is the character after the blank, so that it ends the kinds of the rule.
    connection.scalar(
        "SELECT EXISTS (SELECT 1 FROM audit_counts WHERE kind = $1)
             OR (SELECT count(*) FROM audit_counts
                 WHERE kind > $2 || ' ' AND kind < $2 || '!') < $3",
        &[&kind, &rule, &KINDS],
    )
}

fn note(kind: &str, entry: &Entry, changes: &mut Changes<'_>) -> Result<(), Failure> {
    let row = changes.connection.optional(
        "SELECT kind, since, counted, entry FROM audit_counts WHERE kind = $1",
        &[&kind],
    )?;
    let now = entry.time;
    let mut count = match row {
        None => Count {
            kind: kind.to_owned(),
            since: now,
            counted: 0,
            entry: String::new(),
            first: true,
        },
        Some(row) => Count::read(&row)?,
    };
    if !count.is_open(now) {
        let goes_on = count.counted > 0;
        count.settle(now, changes)?;
        count.first = !goes_on;
    }
    let named = changes.named(entry.clone());
    count.entry = named.canonical_json().map_err(DatabaseError::encode)?;
    if count.first {
        // The network belongs to a count only.
        let network = None;
        let entry = entry.clone();
        changes.audit(Entry { network, ..entry })?;
    } else {
        count.counted += 1;
    }
    Ok(count.write(changes.connection)?)
}

fn settle(now: Timestamp, changes: &mut Changes<'_>) -> Result<(), Failure> {
    let since = now.saturating_sub(WINDOW).unwrap_or(now);
    let rows = changes.connection.all(
        "SELECT kind, since, counted, entry FROM audit_counts WHERE since <= $1 OR since > $2",
        &[&since, &now],
    )?;
    for row in &rows {
        let mut count = Count::read(row)?;
        if count.is_open(now) {
            continue;
        }
        if count.counted > 0 {
            count.settle(now, changes)?;
            count.write(changes.connection)?;
        } else {
            changes
                .connection
                .execute("DELETE FROM audit_counts WHERE kind = $1", &[&count.kind])?;
        }
    }
    Ok(())
}

/// The entries of one kind since its window began.
struct Count {
    kind: String,
    since: Timestamp,
    /// Entries that were not appended.
    counted: i64,
    /// Canonical text of the last one.
    entry: String,
    /// The next entry is to be appended.
    first: bool,
}

impl Count {
    fn read(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            kind: row.get("kind")?,
            since: row.get("since")?,
            counted: row.get("counted")?,
            entry: row.get("entry")?,
            first: false,
        })
    }

    /// A window that begins in the future began before the clock was set back.
    fn is_open(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.since);
        age < WINDOW && age >= SignedDuration::ZERO
    }

    /// Appends the count, if there is one, and begins a new window.
    fn settle(&mut self, now: Timestamp, changes: &mut Changes<'_>) -> Result<(), Failure> {
        if self.counted > 0 {
            let mut last = Entry::from_json(&self.entry).map_err(DatabaseError::encode)?;
            // Copies of several requests are counted together.
            if last.network.as_deref() == Some(OTHERS) {
                last.request_id = None;
            }
            let counting = Entry {
                count: u64::try_from(self.counted).ok(),
                detail: Some(format!(
                    "counted since {}; the last one is shown",
                    self.since
                )),
                ..last
            };
            changes.audit(counting)?;
        }
        self.counted = 0;
        self.since = now;
        Ok(())
    }

    fn write(&self, connection: &mut Connection) -> Result<(), DatabaseError> {
        connection.execute(
            "INSERT INTO audit_counts (kind, since, counted, entry) VALUES ($1, $2, $3, $4)
             ON CONFLICT (kind) DO UPDATE SET since = excluded.since,
                 counted = excluded.counted, entry = excluded.entry",
            &[&self.kind, &self.since, &self.counted, &self.entry],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::store::testing::{TestStore, at, chain_key, id, request};
    use crate::store::{Accepted, NewRequest};

    fn entry(rule: &str, second: i64) -> Entry {
        Entry {
            rule: Some(rule.to_owned()),
            client: Some(format!("192.0.2.{second}")),
            ..Entry::new(at(second), Event::Judged)
        }
    }

    async fn note(test: &TestStore, rule: &str, second: i64) {
        test.store.note_rejected(entry(rule, second)).await.unwrap();
    }

    /// Ignores a message from the network of this number.
    async fn ignore(test: &TestStore, rule: &str, network: u32, second: i64) {
        let client = IpAddr::from(Ipv4Addr::from_bits(0xC000_0000 + (network << 8)));
        let noted = test
            .store
            .note_ignored(entry(rule, second), Some(client.into()));
        noted.await.unwrap();
    }

    /// Count and network of each entry of a rule.
    async fn networks(test: &TestStore, rule: &str) -> Vec<(Option<u64>, Option<String>)> {
        let entries = test.store.audit_entries(1, u32::MAX).await.unwrap();
        let entries = entries.iter().map(|stored| stored.entry().unwrap());
        entries
            .filter(|entry| entry.rule.as_deref() == Some(rule))
            .map(|entry| (entry.count, entry.network))
            .collect()
    }

    /// Rule and count of each entry.
    async fn log(test: &TestStore) -> Vec<(String, Option<u64>)> {
        let entries = test.store.audit_entries(1, 1_000).await.unwrap();
        entries
            .iter()
            .map(|stored| stored.entry().unwrap())
            .map(|entry| (entry.rule.unwrap(), entry.count))
            .collect()
    }

    fn one(kind: &str) -> (String, Option<u64>) {
        (kind.to_owned(), None)
    }

    fn counted(kind: &str, count: u64) -> (String, Option<u64>) {
        (kind.to_owned(), Some(count))
    }

    #[tokio::test]
    async fn a_flood_is_one_entry_a_minute_that_counts_all() {
        let test = TestStore::new().await;
        for second in 0..=150 {
            note(&test, "dnsbl", second).await;
        }
        note(&test, "size", 150).await;
        let expected = [
            one("dnsbl"),
            counted("dnsbl", 59),
            counted("dnsbl", 60),
            one("size"),
        ];
        assert_eq!(log(&test).await, expected);
        test.store.settle_counts(at(160)).await.unwrap();
        assert_eq!(log(&test).await, expected, "the window is open");
        test.store.settle_counts(at(180)).await.unwrap();
        let last = log(&test).await.pop().unwrap();
        assert_eq!(last, counted("dnsbl", 31));
        assert!(test.store.verify_audit(None).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_count_names_the_gateway_of_the_last_one_whoever_appends_it() {
        let test = TestStore::with(|settings| settings.node = "mx1".to_owned()).await;
        let mut settings = test.settings.clone();
        settings.node = "mx2".to_owned();
        let other = Store::open(&settings, Some(chain_key())).await.unwrap();
        note(&test, "dnsbl", 0).await;
        note(&test, "dnsbl", 1).await;
        other.note_rejected(entry("dnsbl", 2)).await.unwrap();
        test.store.settle_counts(at(60)).await.unwrap();
        let counted = test.last_entry().await;
        assert_eq!(counted.count, Some(2));
        assert_eq!(counted.node.as_deref(), Some("mx2"));
        other.close().await;
    }

    #[tokio::test]
    async fn what_comes_now_and_then_is_not_counted() {
        let test = TestStore::new().await;
        for second in [0, 60, 180] {
            note(&test, "dnsbl", second).await;
        }
        assert_eq!(log(&test).await, [one("dnsbl"), one("dnsbl"), one("dnsbl")]);
        test.store.settle_counts(at(300)).await.unwrap();
        assert_eq!(test.execute("DELETE FROM audit_counts").await, 0);
    }

    #[tokio::test]
    async fn ignored_mail_is_counted_by_rule_and_network() {
        let test = TestStore::new().await;
        for second in 0..30 {
            ignore(&test, "subject", 1, second).await;
            ignore(&test, "subject", 2, second).await;
            ignore(&test, "precedence", 1, second).await;
        }
        test.store.settle_counts(at(90)).await.unwrap();
        let from = |network: &str| (Some(29), Some(network.to_owned()));
        let one = || (None, None);
        assert_eq!(
            networks(&test, "subject").await,
            [one(), one(), from("192.0.1.0/24"), from("192.0.2.0/24")]
        );
        assert_eq!(
            networks(&test, "precedence").await,
            [one(), from("192.0.1.0/24")]
        );
    }

    #[tokio::test]
    async fn a_flood_from_a_million_networks_grows_neither_table() {
        let test = TestStore::new().await;
        for network in 0..2_000 {
            ignore(&test, "subject", network, 1).await;
        }
        let kinds: i64 = test.scalar("SELECT count(*) FROM audit_counts").await;
        assert_eq!(kinds, KINDS + 1);
        // Whoever is counted by themselves stays so, and other rules have places.
        ignore(&test, "subject", 7, 2).await;
        ignore(&test, "precedence", 1_999, 2).await;
        test.store.settle_counts(at(90)).await.unwrap();
        let mut counted = networks(&test, "subject").await;
        counted.retain(|(count, _)| count.is_some());
        let others = 2_000 - u64::try_from(KINDS).unwrap() - 1;
        assert_eq!(
            counted,
            [
                (Some(1), Some("192.0.7.0/24".to_owned())),
                (Some(others), Some(OTHERS.to_owned())),
            ]
        );
        assert_eq!(networks(&test, "precedence").await, [(None, None)]);
        // Quiet networks make room for others.
        test.store.settle_counts(at(200)).await.unwrap();
        ignore(&test, "subject", 5_000, 201).await;
        ignore(&test, "subject", 5_000, 202).await;
        test.store.settle_counts(at(300)).await.unwrap();
        let last = networks(&test, "subject").await.pop().unwrap();
        assert_eq!(last, (Some(1), Some("192.19.136.0/24".to_owned())));
    }

    #[tokio::test]
    async fn duplicates_are_counted_by_the_request_that_they_are_copies_of() {
        duplicates_of(Some([192, 0, 2, 1].into())).await;
        // Mail of a local program has no network.
        duplicates_of(None).await;
    }

    async fn duplicates_of(client: Option<IpAddr>) {
        let test = TestStore::new().await;
        let again = async |original: u8, number: u8| {
            let copy = NewRequest {
                id: id(number),
                client,
                accepted_at: at(20),
                audit: Entry::new(at(20), Event::Judged),
                ..request(original)
            };
            let known = test.store.accept(copy).await.unwrap();
            assert_eq!(known, Accepted::Duplicate(id(original)));
        };
        for original in [1, 2] {
            let first = NewRequest {
                client,
                ..request(original)
            };
            test.store.accept(first).await.unwrap();
        }
        for number in 100..150 {
            again(1, number).await;
        }
        again(2, 150).await;
        test.store.settle_counts(at(90)).await.unwrap();
        let entries = test.store.audit_entries(3, 9).await.unwrap();
        let entries = entries.iter().map(|stored| stored.entry().unwrap());
        let seen: Vec<_> = entries
            .map(|entry| (entry.event, entry.request_id.unwrap(), entry.count))
            .collect();
        let of = |original, count| (Event::Duplicate, id(original).to_string(), count);
        assert_eq!(seen, [of(1, None), of(2, None), of(1, Some(49))]);
    }

    #[tokio::test]
    async fn copies_of_many_requests_name_none_of_them() {
        let test = TestStore::new().await;
        let originals = 1..=(u8::try_from(KINDS).unwrap() + 3);
        for _ in 0..2 {
            for original in originals.clone() {
                let of_one_network = NewRequest {
                    client: Some([192, 0, 2, 1].into()),
                    accepted_at: at(50),
                    audit: Entry::new(at(50), Event::Judged),
                    ..request(original)
                };
                test.store.accept(of_one_network).await.unwrap();
            }
        }
        test.store.settle_counts(at(120)).await.unwrap();
        let counted = test.last_entry().await;
        assert_eq!((counted.event, counted.count), (Event::Duplicate, Some(2)));
        assert_eq!(counted.network.as_deref(), Some(OTHERS));
        assert_eq!(counted.request_id, None);
    }

    #[tokio::test]
    async fn a_count_survives_a_crash_and_a_clock_set_back() {
        let test = TestStore::new().await;
        for second in [100, 101, 102] {
            note(&test, "dnsbl", second).await;
        }
        let test = test.after_crash().await;
        note(&test, "dnsbl", 5).await;
        assert_eq!(log(&test).await, [one("dnsbl"), counted("dnsbl", 2)]);
    }

    #[tokio::test]
    async fn a_flood_of_rejects_does_not_make_the_database_grow() {
        let test = TestStore::sqlite().await;
        let pages = async || test.scalar::<i64>("PRAGMA page_count").await;
        note(&test, "dnsbl", 0).await;
        let before = pages().await;
        for _ in 0..5_000 {
            note(&test, "dnsbl", 1).await;
        }
        assert_eq!(pages().await, before);
        test.store.settle_counts(at(61)).await.unwrap();
        assert_eq!(log(&test).await, [one("dnsbl"), counted("dnsbl", 5_000)]);
        note(&test, "size", 62).await;
        assert_eq!(log(&test).await.len(), 3, "others are noted as ever");
    }
}
