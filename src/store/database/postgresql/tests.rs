//! The store on a PostgreSQL server: lost connections, locks, refused settings, and gateways that
//! find out about each other.
#![allow(clippy::unwrap_used)]

use std::os::unix::net::UnixListener;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::store::testing::{TestStore, at, chain_key, id, request};
use crate::store::{Accepted, NewRequest, Store, StoreError};

/// Ends all connections of the store's role but the one that asks.
const TERMINATE: &str = "SELECT CAST(count(pg_terminate_backend(pid)) AS BIGINT)
    FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()";

/// Statements that the writer's session keeps, and how often they were run.
async fn prepared(store: &Store) -> (i64, i64) {
    let change = store.change(|changes| {
        let row = changes.connection.one(
            "SELECT count(*) AS kept,
                 CAST(COALESCE(sum(generic_plans + custom_plans), 0) AS BIGINT) AS run
             FROM pg_prepared_statements",
            &[],
        )?;
        Ok((row.get("kept")?, row.get("run")?))
    });
    change.await.unwrap()
}

async fn refusal(test: &TestStore) -> String {
    let opened = Store::open(&test.settings, Some(chain_key())).await;
    opened.err().unwrap().to_string()
}

#[tokio::test]
async fn a_lost_connection_is_opened_again_and_nothing_is_lost() {
    let test = TestStore::postgresql().await;
    test.store.accept(request(1)).await.unwrap();
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 1);
    assert!(
        test.scalar::<i64>(TERMINATE).await >= 2,
        "writer and reader"
    );
    assert_eq!(test.store.accept(request(2)).await.unwrap(), Accepted::New);
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 2);
    let verified = test.store.verify_audit(None).await.unwrap();
    assert_eq!(verified.unwrap().sequence, 2);
}

#[tokio::test]
async fn a_connection_lost_in_a_transaction_fails_for_it_alone() {
    let test = TestStore::postgresql().await;
    let (begun, has_begun) = oneshot::channel();
    let (release, end) = oneshot::channel::<()>();
    let store = test.store.clone();
    let mut once = Some((begun, end));
    let lost = tokio::spawn(async move {
        let change = store.change(move |changes| {
            changes
                .connection
                .execute("DELETE FROM kms_revision", &[])?;
            let (begun, end) = once.take().unwrap();
            begun.send(()).unwrap();
            end.blocking_recv().unwrap();
            Ok(changes.connection.scalar::<i64>("SELECT 1", &[])?)
        });
        change.await
    });
    has_begun.await.unwrap();
    test.scalar::<i64>(TERMINATE).await;
    release.send(()).unwrap();
    let error = lost.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("PostgreSQL database"), "{error}");
    assert_eq!(
        test.scalar::<i64>("SELECT count(*) FROM kms_revision")
            .await,
        1
    );
    assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn statements_that_are_run_again_are_prepared() {
    let test = TestStore::postgresql().await;
    for number in 1..4 {
        test.store.accept(request(number)).await.unwrap();
    }
    let (kept, run) = prepared(&test.store).await;
    assert!(
        kept > 3 && run >= kept,
        "{kept} statements, run {run} times"
    );
    test.store.accept(request(4)).await.unwrap();
    let (kept_then, run_then) = prepared(&test.store).await;
    assert!(run_then >= run + kept, "run {run_then} times");
    assert!(
        kept_then <= kept + 1,
        "{kept_then} statements, {kept} before"
    );
}

/// As behind a pooler that gives the connection another session.
#[tokio::test]
async fn no_statement_is_run_by_name_once_the_session_is_another() {
    let test = TestStore::postgresql().await;
    for number in 1..4 {
        test.store.accept(request(number)).await.unwrap();
    }
    let (kept, _) = prepared(&test.store).await;
    let mark = "SELECT set_config('kms_gateway.session', $1, false)";
    let remark = async |mark_to: &'static str| {
        let change = test.store.change(move |changes| {
            // A transaction that changes no row is rolled back.
            let changed = "UPDATE kms_revision SET revision = revision";
            changes.connection.execute(changed, &[])?;
            Ok(changes.connection.scalar::<String>(mark, &[&mark_to])?)
        });
        change.await.unwrap()
    };
    remark("another").await;
    let (_, run) = prepared(&test.store).await;
    test.store.accept(request(4)).await.unwrap();
    assert_eq!(prepared(&test.store).await, (kept, run));
    // Whatever the session kept may be another's by now.
    remark("").await;
    test.store.accept(request(5)).await.unwrap();
    assert_eq!(prepared(&test.store).await, (kept, run));
}

#[tokio::test]
async fn a_lock_held_too_long_is_an_error_that_names_the_remedy() {
    let test = TestStore::postgresql().await;
    let mut settings = test.settings.clone();
    settings.busy_timeout = Duration::from_millis(50);
    let hurried = Store::open(&settings, Some(chain_key())).await.unwrap();
    let (begun, has_begun) = oneshot::channel();
    let (release, end) = oneshot::channel::<()>();
    let store = test.store.clone();
    let mut once = Some((begun, end));
    let holding = tokio::spawn(async move {
        let change = store.change(move |_| {
            let (begun, end) = once.take().unwrap();
            begun.send(()).unwrap();
            end.blocking_recv().unwrap();
            Ok(())
        });
        change.await
    });
    has_begun.await.unwrap();
    let error = hurried.accept(request(1)).await.unwrap_err().to_string();
    assert!(
        error.contains("another transaction holds the lock"),
        "{error}"
    );
    release.send(()).unwrap();
    holding.await.unwrap().unwrap();
    assert_eq!(hurried.accept(request(1)).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn gateways_wake_each_other_and_share_one_chain() {
    let test = TestStore::postgresql().await;
    let another = test.another().await;
    let leased = test.lease_later(at(30)).await;
    another.accept(request(1)).await.unwrap();
    assert_eq!(leased.await.unwrap(), id(1));
    test.store.accept(request(2)).await.unwrap();
    for number in 3..20 {
        let store = if number % 2 == 0 {
            &test.store
        } else {
            &another
        };
        store.accept(request(number)).await.unwrap();
    }
    let verified = another.verify_audit(None).await.unwrap();
    assert_eq!(verified.unwrap().sequence, 19);
}

#[tokio::test]
async fn a_look_in_vain_is_no_commit_that_others_would_look_after() {
    let test = TestStore::postgresql().await;
    let commits = "SELECT commits FROM writer";
    let before: i64 = test.scalar(commits).await;
    assert!(test.lease(at(1)).await.is_none());
    assert_eq!(test.scalar::<i64>(commits).await, before);
}

#[tokio::test]
async fn what_a_gateway_committed_meanwhile_is_known_at_the_next_change() {
    let test = TestStore::postgresql().await;
    let another = test.another().await;
    let same = || NewRequest {
        identity: Some([7; 32]),
        ..request(1)
    };
    assert_eq!(test.store.accept(same()).await.unwrap(), Accepted::New);
    let copy = NewRequest {
        id: id(2),
        ..same()
    };
    let known = another.accept(copy).await.unwrap();
    assert_eq!(known, Accepted::Duplicate(id(1)));
}

#[tokio::test]
async fn a_gateway_with_the_former_secrets_changes_nothing() {
    let test = TestStore::postgresql().await;
    test.store.accept(request(1)).await.unwrap();
    test.execute("UPDATE writer SET secrets = secrets + 1")
        .await;
    let refused = test.store.accept(request(2)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::OtherChainKey { .. }),
        "{refused}"
    );
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 1);
    let fresh = test.another().await;
    assert_eq!(fresh.accept(request(2)).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn an_older_gateway_goes_on_only_where_the_newer_schema_lets_it() {
    let test = TestStore::postgresql().await;
    test.execute("UPDATE schema_version SET version = 999")
        .await;
    assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);
    let beside = test.another().await;
    assert_eq!(beside.accept(request(2)).await.unwrap(), Accepted::New);
    test.execute("UPDATE schema_version SET usable_from = 999")
        .await;
    let refused = test.store.accept(request(3)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Schema { found: 999, .. }),
        "{refused}"
    );
    assert!(
        refusal(&test)
            .await
            .contains("use the program that made it")
    );
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_committed_is_refused() {
    let test = TestStore::postgresql().await;
    test.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
        .await;
    let error = refusal(&test).await;
    assert!(error.contains("synchronous_commit is off"), "{error}");
}

#[tokio::test]
async fn a_host_that_hangs_keeps_nobody_from_the_next() {
    let test = TestStore::postgresql().await;
    let directory = TempDir::new().unwrap();
    // The kernel takes connections, and nobody answers.
    let _silent = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
    let mut settings = test.settings.clone();
    if let Some(postgresql) = &mut settings.postgresql {
        let silent = directory.path().to_str().unwrap().parse().unwrap();
        postgresql.hosts.insert(0, silent);
    }
    let beside = Store::open(&settings, Some(chain_key())).await.unwrap();
    assert_eq!(beside.accept(request(1)).await.unwrap(), Accepted::New);
    if let Some(postgresql) = &mut settings.postgresql {
        postgresql.hosts.truncate(1);
    }
    let opened = Store::open(&settings, Some(chain_key())).await;
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("no answer within 5 s"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_named_with_the_remedy() {
    let test = TestStore::postgresql().await;
    let mut settings = test.settings.clone();
    if let Some(postgresql) = &mut settings.postgresql {
        postgresql.hosts = vec!["/nowhere".parse().unwrap()];
    }
    let error = Store::open(&settings, Some(chain_key()))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("at /nowhere") && error.contains("see that the server runs"),
        "{error}"
    );
}
