//! Brings the schema up to date.
//!
//! A new database gets the whole schema at once, and an older one the steps to it. A test compares
//! what both make.

use super::connection::Connection;
use super::error::{DatabaseError, Failure, StoreError};
use super::settings::{NEWEST_SCHEMA, StoreSettings};

/// The schema, as a new database gets it.
const SCHEMA: &str = include_str!("../migrations/schema.sql");

/// The steps from an older schema, the oldest first: the version that each makes, and its
/// statements.
const STEPS: &[(i64, &str)] = &[
    (2, include_str!("../migrations/0002_two_engines.sql")),
    (
        3,
        include_str!("../migrations/0003_sequence_in_indexes.sql"),
    ),
];

/// The first schema that several gateways can use, with the row that locks out the others.
const FIRST_WITH_WRITER: i64 = 2;

/// The oldest program that may use a database of this schema, by the version that it makes. A step
/// that only adds leaves it as it is, so that gateways are upgraded one after the other.
const USABLE_FROM: i64 = 2;

/// Brings the schema up to date in one transaction, so that others may open the database
/// meanwhile.
pub(super) fn migrate(
    connection: &mut Connection,
    settings: &StoreSettings,
) -> Result<(), StoreError> {
    if refuse_newer(connection, settings)? >= NEWEST_SCHEMA {
        return Ok(());
    }
    let failed = |error: DatabaseError| Failure::from(error).of(settings);
    connection.begin_migration(settings).map_err(failed)?;
    // Another may have done it by now.
    let migrated = migrate_within(connection, settings);
    let end = match migrated {
        Ok(()) => "COMMIT",
        Err(_) => "ROLLBACK",
    };
    migrated.and(connection.run(end).map_err(failed))
}

/// Brings the schema up to date in the transaction that has begun.
pub(super) fn migrate_within(
    connection: &mut Connection,
    settings: &StoreSettings,
) -> Result<(), StoreError> {
    let found = refuse_newer(connection, settings)?;
    let migrated = bring_up(found, connection);
    migrated.map_err(|error| Failure::from(error).of(settings))
}

fn bring_up(found: i64, connection: &mut Connection) -> Result<(), DatabaseError> {
    if found >= NEWEST_SCHEMA {
        return Ok(());
    }
    if found == 0 {
        connection.define(SCHEMA)?;
    }
    if found >= FIRST_WITH_WRITER {
        // As each change does: otherwise a gateway that goes on could lock the tables in another order.
        connection.execute("UPDATE writer SET commits = commits + 1", &[])?;
    }
    for (version, statements) in STEPS {
        if found > 0 && *version > found {
            connection.define(statements)?;
        }
    }
    connection.execute("DELETE FROM schema_version", &[])?;
    connection.execute(
        "INSERT INTO schema_version (version, usable_from) VALUES ($1, $2)",
        &[&NEWEST_SCHEMA, &USABLE_FROM],
    )?;
    Ok(())
}

/// Refuses a schema that only newer versions of this program can use. Returns the version found, 0
/// in a new database.
pub(super) fn refuse_newer(
    connection: &mut Connection,
    settings: &StoreSettings,
) -> Result<i64, StoreError> {
    let failed = |error: DatabaseError| Failure::from(error).of(settings);
    let (found, usable_from) = version(connection).map_err(failed)?;
    if usable_from <= NEWEST_SCHEMA {
        return Ok(found);
    }
    Err(StoreError::Schema {
        place: settings.place(),
        found,
        known: NEWEST_SCHEMA,
    })
}

/// Refuses any schema but the newest that this program knows. Whoever copies a database must know
/// all of it.
pub(crate) fn require_newest(
    connection: &mut Connection,
    settings: &StoreSettings,
) -> Result<(), StoreError> {
    match refuse_newer(connection, settings)? {
        NEWEST_SCHEMA => Ok(()),
        found => Err(StoreError::Schema {
            place: settings.place(),
            found,
            known: NEWEST_SCHEMA,
        }),
    }
}

/// The version of the schema, and the oldest program that may use it. The first version was kept in
/// a table of another name.
pub(super) fn version(connection: &mut Connection) -> Result<(i64, i64), DatabaseError> {
    if connection.has_table("schema_version")? {
        let row = connection.one(
            "SELECT coalesce(max(version), 0) AS version, coalesce(max(usable_from), 0) AS usable_from
             FROM schema_version",
            &[],
        )?;
        return Ok((row.get("version")?, row.get("usable_from")?));
    }
    let first = match connection.has_table("_sqlx_migrations")? {
        true => connection.scalar(
            "SELECT coalesce(max(version), 0) FROM _sqlx_migrations",
            &[],
        )?,
        false => 0,
    };
    Ok((first, first))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::sync::Notify;

    use super::*;
    use crate::new_file;
    use crate::store::database::sqlite::{Access, SqliteConnection};
    use crate::store::testing::{HOLD, PORT, TestStore, at, chain_key, completion, id, request};
    use crate::store::{Completed, Leasing, Store};

    /// A database as the first version made it, with a request in it and two replies. The
    /// notice that a reply is late may precede the first one only.
    const FIRST: &str = concat!(
        include_str!("../migrations/0001_store.sql"),
        "CREATE TABLE _sqlx_migrations (
             version BIGINT PRIMARY KEY,
             description TEXT NOT NULL,
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
             success BOOLEAN NOT NULL,
             checksum BLOB NOT NULL,
             execution_time BIGINT NOT NULL
         );
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (1, 'store', TRUE, x'00', 0);
         INSERT INTO requests (id, accepted_at, queue_id, reverse_path, sender, size, waits_since,
             waits_until, service, gateway, targets, target, requester)
         VALUES ('01010101010101010101010101010101', 0, 'Q1', 'a@b.example', 'a@b.example', 9, 0, 0,
             '{KMS:Help}', 'kms@gateway.example', 'a@b.example', 'a@b.example', 'newcomer');
         INSERT INTO request_messages VALUES (1, x'0D0A');
         INSERT INTO replies (request_id, queue_id, accepted_at, completed_at, reverse_path, size,
             message, late_notice, requester, kind)
         VALUES ('02020202020202020202020202020202', 'Q2', 0, 0, '', 4, x'0D0A', x'0D0A',
                 'verified', 'success'),
             ('03030303030303030303030303030303', 'Q3', 0, 0, '', 2, x'0D0A', NULL,
                 'newcomer', 'success');
         INSERT INTO deliveries (reply, target, waits_since, waits_until)
         VALUES (1, 'c@d.example', 0, 0), (2, 'e@f.example', 0, 0);"
    );

    fn first(directory: &TempDir) -> StoreSettings {
        let settings = StoreSettings::new(directory.path().join("store/gateway.db"));
        new_file::create_directory(settings.path.parent().unwrap(), 0o700).unwrap();
        new_file::create(&settings.path, 0o600, b"").unwrap();
        let connection = SqliteConnection::plain(&settings.path, Access::Write).unwrap();
        connection.run("PRAGMA journal_mode = WAL").unwrap();
        connection.run(FIRST).unwrap();
        connection.close().unwrap();
        settings
    }

    /// Columns, indexes and triggers, whatever the text that made them.
    fn schema(settings: &StoreSettings) -> Vec<String> {
        let connection = SqliteConnection::plain(&settings.path, Access::Read).unwrap();
        let rows = Connection::Sqlite(connection).all(
            "SELECT own.name || ' ' || columns.name || ' ' || columns.type || ' '
                 || columns.\"notnull\" || ' ' || columns.pk || ' ' || coalesce(dflt_value, '')
                 AS line
             FROM sqlite_schema AS own, pragma_table_info(own.name) AS columns
             WHERE own.name NOT IN ('_sqlx_migrations', 'sqlite_sequence')
             UNION
             SELECT type || ' ' || name || ' ' || sql FROM sqlite_schema
             WHERE type != 'table' AND sql IS NOT NULL
             ORDER BY line",
            &[],
        );
        let rows = rows.unwrap();
        rows.iter().map(|row| row.get("line").unwrap()).collect()
    }

    #[tokio::test]
    async fn an_older_database_becomes_as_a_new_one_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let old = first(&directory);
        let new = TestStore::sqlite().await;
        let store = Store::open_checked(&old, Some(chain_key())).await.unwrap();
        assert_eq!(schema(&old), schema(&new.settings));
        assert!(!schema(&old).is_empty());

        let leasing = Leasing::alone(at(1), HOLD);
        let leased = store.lease(leasing).await.unwrap().work().unwrap();
        assert_eq!(
            (leased.id, leased.message.as_slice()),
            (id(1), &b"\r\n"[..])
        );
        let mut can_be_notified = Vec::new();
        for _ in 0..2 {
            let leasing = Leasing::alone(at(1), HOLD);
            let leased = store.lease_delivery(leasing, PORT).await.unwrap();
            let leased = leased.work().unwrap();
            can_be_notified.push((leased.target.clone(), leased.can_be_notified));
            assert_eq!(leased.message, b"\r\n");
            assert!(store.delivered(&leased, at(1), "250").await.unwrap());
        }
        let expected = [("c@d.example", true), ("e@f.example", false)];
        assert_eq!(
            can_be_notified,
            expected.map(|(target, can)| (target.to_owned(), can))
        );
        store.close().await;
        let again = Store::open_checked(&old, Some(chain_key())).await.unwrap();
        let usage = again.spool_usage().await.unwrap();
        assert_eq!((usage.requests, usage.replies, usage.bytes), (1, 0, 9));
        again.close().await;
    }

    /// Makes of the newest schema the second, as far as the third differs from it.
    const BACK_TO_SECOND: &[&str] = &[
        "DROP INDEX requests_of_target",
        "DROP INDEX requests_until",
        "DROP INDEX requests_since",
        "DROP INDEX requests_verified",
        "DROP INDEX deliveries_until",
        "DROP INDEX deliveries_since",
        "CREATE INDEX requests_of_target ON requests (target) WHERE target IS NOT NULL",
        "CREATE INDEX requests_until ON requests (waits_until) WHERE turn = 1",
        "CREATE INDEX requests_since ON requests (waits_since) WHERE turn = 1",
        "CREATE INDEX requests_verified ON requests (waits_until)
             WHERE turn = 1 AND requester = 'verified'",
        "CREATE INDEX deliveries_until ON deliveries (waits_until) WHERE turn = 1",
        "CREATE INDEX deliveries_since ON deliveries (waits_since) WHERE turn = 1",
        "UPDATE schema_version SET version = 2",
    ];

    async fn go_back_to_second(test: &TestStore) {
        for statement in BACK_TO_SECOND {
            test.execute(statement).await;
        }
    }

    /// The texts that make the indexes of a database.
    async fn indexes(test: &TestStore) -> Vec<String> {
        let all = match test.settings.postgresql {
            Some(_) => {
                "SELECT indexdef AS text FROM pg_indexes
                 WHERE schemaname = current_schema() ORDER BY indexname"
            }
            None => {
                "SELECT sql AS text FROM sqlite_schema
                 WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
            }
        };
        let texts = test.store.read(move |connection| {
            let rows = connection.all(all, &[])?;
            rows.iter().map(|row| row.get("text")).collect()
        });
        texts.await.unwrap()
    }

    #[tokio::test]
    async fn the_second_schema_becomes_the_third_beside_a_gateway_that_goes_on() {
        let test = TestStore::new().await;
        let newest = indexes(&test).await;
        go_back_to_second(&test).await;
        assert_ne!(indexes(&test).await, newest);
        let going_on = async {
            for number in 1..=50 {
                test.store.accept(request(number)).await.unwrap();
                let now = at(number.into());
                let leased = test.lease(now).await.unwrap();
                let completion = completion(now, &["a@b.example"]);
                let completed = test.store.complete(&leased.token, completion).await;
                assert_eq!(completed.unwrap(), Completed::Committed);
            }
        };
        let (newer, ()) = tokio::join!(test.another(), going_on);
        assert_eq!(indexes(&test).await, newest);
        let version: i64 = test.scalar("SELECT version FROM schema_version").await;
        assert_eq!(version, NEWEST_SCHEMA);
        assert_eq!(newer.spool_usage().await.unwrap().replies, 50);
        newer.close().await;
    }

    /// The step drops an index of requests first. The change has locked deliveries by then, and goes
    /// on to requests: each would wait for the other.
    #[tokio::test]
    async fn a_step_waits_until_a_change_is_done_with_all_tables() {
        // Within a transaction, pg_stat_activity would say the same each time.
        const WAITING: &str = "SELECT count(*) > 0 FROM pg_locks
             WHERE NOT granted AND (relation = 'deliveries'::regclass OR relation IS NULL)";
        let test = TestStore::postgresql().await;
        go_back_to_second(&test).await;
        let has_begun = Arc::new(Notify::new());
        let begins = has_begun.clone();
        let change = test.store.change(move |changes| {
            let connection = &mut *changes.connection;
            connection.execute("UPDATE deliveries SET notified = notified", &[])?;
            begins.notify_one();
            while !connection.scalar::<bool>(WAITING, &[])? {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(connection.execute("UPDATE requests SET notified = notified", &[])?)
        });
        let opening = async {
            has_begun.notified().await;
            test.another().await
        };
        let (changed, newer) = tokio::join!(change, opening);
        assert_eq!(changed.unwrap(), 0);
        newer.close().await;
    }
}
