//! Stores moved between the engines: all of each is there afterwards, or nothing is.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::tables::{TABLES, Table};
use super::*;
use crate::audit::{ChainKey, Entry, Event};
use crate::store::audit::hand_over::hand_over;
use crate::store::database::Connection;
use crate::store::testing::{TestStore, at, chain_key, request};
use crate::store::{Accepted, Store, StoreError, StoreSettings};

/// Rows of the tables that no intent of [`filled`] fills, in SQLite's words: with missing and empty
/// values, the largest numbers, and letters beyond ASCII.
const ROWS: &str = "
    INSERT INTO request_troubles VALUES (3, 1, 5, 'weg ✉'), (3, 2, 6, '');
    INSERT INTO replies (sequence, request_id, queue_id, accepted_at, completed_at, reverse_path,
        size, message, requester, kind)
    VALUES (7, 'id', 'Q', 1, 2, '', 9, x'00FF', 'verified', 'error');
    INSERT INTO deliveries (sequence, reply, target, waits_since, waits_until, turn, place)
    VALUES (8, 7, 'a@b.example', -9223372036854775808, 9223372036854775807, 1, 16),
        (9, 7, 'c@d.example', 1, 2, 1, 18);
    INSERT INTO delivery_troubles VALUES (9, 1, 7, 'NULL');
    INSERT INTO port_troubles VALUES ('mx1', '127.0.0.1:18025', 1, 2, 3, 4, 1, NULL, 'refused');
    INSERT INTO spool_shares VALUES ('newcomers', 1, 2), ('192.0.2.0/24', 3, 4);
    INSERT INTO throttle VALUES (5, 'b', 1, 2, 0, NULL), (6, 'a', 1, 2, 1, 3);
    INSERT INTO reply_targets VALUES (4, 'a@b.example', NULL);
    INSERT INTO audit_counts VALUES ('kind', 1, 2, '{}');
    INSERT INTO storage_key VALUES (1, x'0102');
    INSERT INTO kmc_keys VALUES ('kmcid', 'P-384', '04', 'a', 'e', x'');
    INSERT INTO modules VALUES ('smid', 'hardware', 'active', x'03', NULL);
    INSERT INTO module_sgcs VALUES ('smid', '000439'), ('smid', '600727');
    INSERT INTO vending_keys
    VALUES ('000439', '1', '2', 255, '2014', '02', 'a', NULL, 1, 2, NULL, 'k', x'04');
    INSERT INTO replay_marks VALUES (zeroblob(32), 'smid', 't');
    INSERT INTO klf_issues VALUES (2, 'smid', 'id', 't', 1, '');
    INSERT INTO stsa_updates VALUES ('key', 1, zeroblob(48));
    INSERT INTO clock VALUES ('', 1, 2, 3);
    INSERT INTO clock_stretches VALUES ('', 0, 1, 2, 3, 1), ('', 1, 1, 2, 3, 0);
    UPDATE spool_usage SET replies = 1, bytes = bytes + 9;
    UPDATE kms_revision SET revision = 5;
    UPDATE writer SET secrets = 2";

/// More than a page holds.
const REQUESTS: u8 = 20;
const ENTRIES: i64 = 2_500;

/// The audit log's key after its hand-over.
fn next_key() -> ChainKey {
    ChainKey::new(&[8; 32])
}

/// A closed SQLite store with rows in each table, a log that was cut, and a hand-over.
async fn filled() -> TestStore {
    let test = TestStore::on_sqlite(|settings| settings.node = "mx1".to_owned()).await;
    for number in 1..=REQUESTS {
        test.store.accept(request(number)).await.unwrap();
    }
    let entries = test.store.change(|changes| {
        for second in 0..ENTRIES {
            changes.audit(Entry::new(at(second), Event::Judged))?;
        }
        hand_over(&next_key(), at(ENTRIES), String::new(), changes)
    });
    entries.await.unwrap();
    test.store.close().await;
    let store = Store::open(&test.settings, Some(next_key())).await.unwrap();
    let cut = store.prune_audit(at(10), at(ENTRIES)).await.unwrap();
    assert!(cut.unwrap() > 5);
    store.close().await;
    test.sqlite3().run(ROWS).unwrap();
    test
}

/// Empty tables in PostgreSQL, which nobody has open.
async fn on_postgresql() -> TestStore {
    let mut test = TestStore::postgresql().await;
    test.store.close().await;
    test.settings.node = "mx1".to_owned();
    test
}

/// The place of a new file, beside another database that nobody has open.
async fn on_sqlite() -> TestStore {
    let mut test = TestStore::on_sqlite(|settings| settings.node = "mx1".to_owned()).await;
    test.store.close().await;
    test.settings.path.set_file_name("new.db");
    test
}

fn files(test: &TestStore) -> Vec<String> {
    let directory = test.settings.path.parent().unwrap();
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

async fn moved_to(to: &TestStore, from: &TestStore) -> Result<Copied, CopyError> {
    move_store(from.settings.clone(), to.settings.clone(), next_key()).await
}

/// All rows of each table.
async fn content(test: &TestStore) -> Vec<(&'static str, Vec<String>)> {
    let store = Store::open(&test.settings, None).await.unwrap();
    let content = store.read(|connection| {
        let of_table = |table: &Table| {
            let columns = connection.columns(table.name)?;
            let names: Vec<_> = columns
                .iter()
                .map(|own| format!("\"{}\"", own.name))
                .collect();
            let (names, key) = (names.join(", "), table.key.join(", "));
            let statement = format!("SELECT {names} FROM {} ORDER BY {key}", table.name);
            let rows = connection.all(&statement, &[])?;
            let rows = rows.iter().map(|row| format!("{row:?}"));
            Ok((table.name, rows.collect()))
        };
        TABLES.iter().map(of_table).collect()
    });
    let content = content.await.unwrap();
    store.close().await;
    content
}

async fn count(test: &TestStore, what: &str) -> i64 {
    test.scalar(&format!("SELECT count(*) FROM {what}")).await
}

#[tokio::test]
async fn everything_arrives_in_postgresql_and_back() {
    let first = filled().await;
    let there = on_postgresql().await;
    let back = on_sqlite().await;
    let original = content(&first).await;
    for (table, rows) in &original {
        assert!(!rows.is_empty(), "{table} is not tried");
    }

    let copied = moved_to(&there, &first).await.unwrap();
    let counts: Vec<_> = original
        .iter()
        .map(|(table, rows)| (*table, rows.len() as u64))
        .collect();
    assert_eq!(copied.tables, counts);
    let arrived = content(&there).await;
    for (own, of_first) in arrived.iter().zip(&original) {
        // Only SQLite knows no name of its machine.
        if !own.0.starts_with("clock") {
            assert_eq!(own, of_first);
        }
    }
    assert_eq!(count(&there, "clock_stretches WHERE node = 'mx1'").await, 2);
    assert_eq!(count(&there, "writer WHERE secrets = 2").await, 1);

    let again = moved_to(&back, &there).await.unwrap();
    assert_eq!(again, copied);
    assert_eq!(files(&back), ["gateway.db", "new.db"]);
    let mode = fs::metadata(&back.settings.path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(content(&back).await, original);
    assert_eq!(count(&back, "writer WHERE secrets = 2").await, 1);
    for test in [&there, &back] {
        let store = Store::open_checked(&test.settings, Some(next_key()))
            .await
            .unwrap();
        assert_eq!(store.verify_audit(None).await.unwrap(), Ok(copied.head));
        assert_eq!(store.accept(request(200)).await.unwrap(), Accepted::New);
        store.close().await;
        assert_eq!(count(test, "requests WHERE sequence > 20").await, 1);
    }
}

#[tokio::test]
async fn a_database_that_holds_anything_is_refused_and_left_as_it_is() {
    let first = filled().await;
    let target = on_postgresql().await;
    let store = target.another().await;
    store.accept(request(1)).await.unwrap();
    store.close().await;
    let before = content(&target).await;
    let error = moved_to(&target, &first).await.unwrap_err().to_string();
    assert!(
        error.starts_with("PostgreSQL database")
            && error.contains("requests (1), request_messages (1)"),
        "{error}"
    );
    assert_eq!(content(&target).await, before);

    let target = on_sqlite().await;
    for name in ["new.db", "new.db-wal", "new.db-journal"] {
        let file = target.settings.path.with_file_name(name);
        fs::write(&file, "mine").unwrap();
        let error = moved_to(&target, &first).await.unwrap_err();
        assert!(
            matches!(&error, CopyError::FileExists(there) if *there == file),
            "{error}"
        );
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        fs::remove_file(file).unwrap();
    }
    moved_to(&target, &first).await.unwrap();
}

#[tokio::test]
async fn a_log_that_does_not_verify_is_not_copied() {
    let first = filled().await;
    first
        .execute("UPDATE audit SET entry = '{}' WHERE sequence = 2000")
        .await;
    let (target, file) = (on_postgresql().await, on_sqlite().await);
    for target in [&target, &file] {
        let error = moved_to(target, &first).await.unwrap_err();
        assert!(matches!(error, CopyError::Broken { .. }), "{error}");
        assert!(error.to_string().contains("2000"), "{error}");
    }
    assert_eq!(count(&target, "audit").await, 0);
    assert_eq!(files(&file), ["gateway.db"]);

    let former = move_store(first.settings.clone(), target.settings.clone(), chain_key());
    let error = former.await.unwrap_err().to_string();
    assert!(
        error.contains("does not open with this master secret"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_gateway_uses_is_not_moved() {
    let (first, target) = (filled().await, on_postgresql().await);
    let in_use = |moved: Result<Copied, CopyError>| {
        let error = moved.unwrap_err();
        assert!(
            matches!(error, CopyError::Store(StoreError::InUse { .. })),
            "{error}"
        );
    };
    let using = Store::open(&first.settings, Some(next_key()))
        .await
        .unwrap();
    in_use(moved_to(&target, &first).await);
    using.close().await;

    let seen = "INSERT INTO nodes
        (name, version, policy, ahead, process, pid, machine, seen_at)
        VALUES ('mx2', '', '', 0, decode(repeat('00', 16), 'hex'), 1, '',
        CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT))";
    target.execute(seen).await;
    in_use(moved_to(&target, &first).await);
    in_use(moved_to(&on_sqlite().await, &target).await);
    target
        .execute("UPDATE nodes SET seen_at = seen_at - 31000000")
        .await;
    moved_to(&target, &first).await.unwrap();
}

#[tokio::test]
async fn nothing_changes_while_a_database_is_read_alone() {
    for test in [TestStore::sqlite().await, TestStore::postgresql().await] {
        let settings = StoreSettings {
            busy_timeout: Duration::from_millis(50),
            ..test.settings.clone()
        };
        let hurried = Store::open(&settings, Some(chain_key())).await.unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut connection = Connection::writing(&settings).unwrap();
            connection.begin_reading_alone(&settings).unwrap();
            connection
        });
        let reading = reading.await.unwrap();
        let refused = hurried.accept(request(1)).await.unwrap_err().to_string();
        assert!(refused.contains("lock"), "{refused}");
        tokio::task::spawn_blocking(move || reading.close())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(hurried.accept(request(1)).await.unwrap(), Accepted::New);
    }
}
