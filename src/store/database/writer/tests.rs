//! The writer under load, under locks and after failures.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::error::StoreError;
use super::super::row::Row;
use super::*;

use crate::store::testing::{HOLD, TestStore, at, request};
use crate::store::{Accepted, NewRequest, Store};

/// Runs statements on the writing connection, in the transaction.
async fn execute(store: &Store, statements: &'static str) -> Result<(), StoreError> {
    store
        .change(move |changes| Ok(changes.connection.run(statements)?))
        .await
}

/// One row as the writing connection sees it.
async fn read(store: &Store, statement: &'static str) -> Result<Row, StoreError> {
    store
        .change(move |changes| Ok(changes.connection.one(statement, &[])?))
        .await
}

/// Holds the write lock as another process may.
struct Lock(Connection);

impl Lock {
    fn on(test: &TestStore) -> Self {
        let mut connection = test.sqlite3();
        connection.begin(&test.settings).unwrap();
        Self(connection)
    }

    fn release(mut self) {
        self.0.run("ROLLBACK").unwrap();
    }
}

/// The writer is busy until the sender is used: changes that are asked for meanwhile become one
/// batch.
async fn hold(store: &Arc<Store>) -> oneshot::Sender<()> {
    let (begun, has_begun) = oneshot::channel();
    let (release, end) = oneshot::channel::<()>();
    let store = store.clone();
    let mut once = Some((begun, end));
    tokio::spawn(async move {
        let held = store.change(move |_| {
            let (begun, end) = once.take().unwrap();
            begun.send(()).unwrap();
            end.blocking_recv().unwrap();
            Ok(())
        });
        held.await.unwrap();
    });
    has_begun.await.unwrap();
    release
}

/// Asks for a change without waiting for it.
fn ask(store: &Arc<Store>, sql: &'static str) -> JoinHandle<Result<(), StoreError>> {
    let store = store.clone();
    tokio::spawn(async move { execute(&store, sql).await })
}

/// Brings a request without waiting for its acceptance.
fn bring(store: &Arc<Store>, number: u8) -> JoinHandle<Result<Accepted, StoreError>> {
    let store = store.clone();
    tokio::spawn(async move { store.accept(request(number)).await })
}

async fn wait_for_queue(store: &Store, length: usize) {
    while store.waiting_changes() != length {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn changes_that_wait_share_a_commit() {
    let test = TestStore::new().await;
    let release = hold(&test.store).await;
    let accepting: Vec<_> = (0..64).map(|number| bring(&test.store, number)).collect();
    wait_for_queue(&test.store, 64).await;
    release.send(()).unwrap();
    for accepted in accepting {
        assert_eq!(accepted.await.unwrap().unwrap(), Accepted::New);
    }
    assert_eq!(test.store.commits(), 1);
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 64);
}

#[tokio::test]
async fn a_change_at_leisure_joins_the_commit_of_another() {
    let test = TestStore::new().await;
    let release = hold(&test.store).await;
    let store = test.store.clone();
    let leisurely = tokio::spawn(async move {
        let change = |changes: &mut Changes<'_>| {
            // It is applied after the request was accepted.
            let waiting = "SELECT requests FROM spool_usage";
            let requests = changes.connection.scalar::<i64>(waiting, &[])?;
            let changed = "UPDATE kms_revision SET revision = revision + 1";
            changes.connection.execute(changed, &[])?;
            Ok(requests)
        };
        store.change_at_leisure(change).await
    });
    let accepting = bring(&test.store, 1);
    // The nudge after a moment of leisure, and the request.
    wait_for_queue(&test.store, 2).await;
    release.send(()).unwrap();
    assert_eq!(accepting.await.unwrap().unwrap(), Accepted::New);
    assert_eq!(leisurely.await.unwrap().unwrap(), 1);
    assert_eq!(test.store.commits(), 1);
}

#[tokio::test]
async fn a_change_at_leisure_is_made_though_no_other_comes() {
    let test = TestStore::new().await;
    let changed = "UPDATE kms_revision SET revision = 7";
    let change = test
        .store
        .change_at_leisure(move |changes| Ok(changes.connection.execute(changed, &[])?));
    assert_eq!(change.await.unwrap(), 1);
    assert_eq!(test.store.commits(), 1);
}

#[tokio::test]
async fn a_change_that_fails_leaves_its_batch_alone() {
    for place in 0..3 {
        let test = TestStore::new().await;
        let release = hold(&test.store).await;
        let mut accepting = Vec::new();
        let mut failing = None;
        for number in 0..3 {
            if number == place {
                let wrong = "DELETE FROM requests; INSERT INTO audit VALUES (9, 'x', 'y')";
                failing = Some(ask(&test.store, wrong));
            } else {
                accepting.push(bring(&test.store, number));
            }
        }
        wait_for_queue(&test.store, 3).await;
        release.send(()).unwrap();

        let failed = failing.unwrap().await.unwrap();
        assert!(
            matches!(failed, Err(StoreError::Database { .. })),
            "{place}"
        );
        for accepted in accepting {
            assert_eq!(accepted.await.unwrap().unwrap(), Accepted::New, "{place}");
        }
        assert_eq!(test.store.commits(), 1, "{place}");
        assert_eq!(
            test.store.spool_usage().await.unwrap().requests,
            2,
            "{place}"
        );
    }
}

/// Asks for a change that is refused before or after it changes something, or not at all. Counts its
/// runs.
fn ask_counted(
    store: &Arc<Store>,
    refused: Option<When>,
) -> (Arc<AtomicU64>, JoinHandle<Result<(), StoreError>>) {
    let runs = Arc::new(AtomicU64::new(0));
    let (store, counted) = (store.clone(), runs.clone());
    let asked = tokio::spawn(async move {
        let change = store.change(move |changes| {
            counted.fetch_add(1, Ordering::Relaxed);
            if refused != Some(When::Before) {
                let count = "UPDATE kms_revision SET revision = revision + 1";
                changes.connection.execute(count, &[])?;
            }
            refused.map_or(Ok(()), |_| Err(Failure::Crowded("strangers".to_owned())))
        });
        change.await
    });
    (runs, asked)
}

#[derive(Clone, Copy, PartialEq)]
enum When {
    Before,
    After,
}

/// How often three changes of a batch run, the second of which is refused.
async fn runs_beside_a_refusal(when: When) -> [u64; 3] {
    let test = TestStore::new().await;
    let release = hold(&test.store).await;
    let mut asked = Vec::new();
    for refused in [None, Some(when), None] {
        asked.push(ask_counted(&test.store, refused));
        wait_for_queue(&test.store, asked.len()).await;
    }
    release.send(()).unwrap();
    let mut runs = [0; 3];
    let mut is_taken = [false; 3];
    for (place, (counted, answer)) in asked.into_iter().enumerate() {
        is_taken[place] = answer.await.unwrap().is_ok();
        runs[place] = counted.load(Ordering::Relaxed);
    }
    assert_eq!(is_taken, [true, false, true]);
    let row = read(&test.store, "SELECT revision FROM kms_revision").await;
    assert_eq!(row.unwrap().get::<i64>("revision").unwrap(), 2);
    runs
}

#[tokio::test]
async fn a_refusal_that_changed_nothing_costs_no_second_run() {
    assert_eq!(runs_beside_a_refusal(When::Before).await, [1, 1, 1]);
}

#[tokio::test]
async fn a_refusal_after_a_change_has_its_batch_run_again() {
    // The third had not run yet when the second was refused.
    assert_eq!(runs_beside_a_refusal(When::After).await, [2, 2, 1]);
}

#[tokio::test]
async fn a_failed_commit_fails_for_all_and_the_next_succeeds() {
    let test = TestStore::sqlite().await;
    let release = hold(&test.store).await;
    // A foreign key that is only missed at the commit.
    let spoil = "PRAGMA defer_foreign_keys = ON; INSERT INTO request_messages VALUES (999, x'00')";
    let spoil = ask(&test.store, spoil);
    let accept = bring(&test.store, 1);
    wait_for_queue(&test.store, 2).await;
    release.send(()).unwrap();

    assert!(matches!(
        spoil.await.unwrap(),
        Err(StoreError::Database { .. })
    ));
    assert!(matches!(
        accept.await.unwrap(),
        Err(StoreError::Database { .. })
    ));
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 0);
    assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn a_lock_held_too_long_is_an_error_that_names_the_remedy() {
    let test =
        TestStore::on_sqlite(|settings| settings.busy_timeout = Duration::from_millis(20)).await;
    let lock = Lock::on(&test);
    let error = test.store.accept(request(1)).await.unwrap_err().to_string();
    let path = test.settings.path.display().to_string();
    assert!(
        error.contains(&path) && error.contains("keeps the database locked"),
        "{error}"
    );
    lock.release();
    assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn a_connection_that_can_write_no_more_is_replaced_at_once() {
    let test = TestStore::sqlite().await;
    execute(&test.store, "PRAGMA query_only = ON")
        .await
        .unwrap();
    assert_eq!(test.store.accept(request(1)).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn a_full_disk_is_survived() {
    let test = TestStore::sqlite().await;
    let large = || NewRequest {
        message: vec![0; 1 << 20],
        ..request(2)
    };
    test.store.accept(request(1)).await.unwrap();
    execute(&test.store, "PRAGMA max_page_count = 1")
        .await
        .unwrap();
    let error = test.store.accept(large()).await.unwrap_err().to_string();
    assert!(error.contains("make room"), "{error}");
    assert_eq!(test.store.spool_usage().await.unwrap().requests, 1);
    assert_eq!(test.store.accept(large()).await.unwrap(), Accepted::New);
    assert!(test.store.verify_audit(None).await.unwrap().is_ok());
}

#[tokio::test]
async fn closing_finishes_what_waits_and_takes_nothing_more() {
    let test = TestStore::new().await;
    let release = hold(&test.store).await;
    let accepting: Vec<_> = (0..20).map(|number| bring(&test.store, number)).collect();
    wait_for_queue(&test.store, 20).await;
    let store = test.store.clone();
    let closing = tokio::spawn(async move { store.close().await });
    wait_for_queue(&test.store, 0).await;
    assert!(matches!(
        test.store.accept(request(99)).await,
        Err(StoreError::Closed)
    ));
    release.send(()).unwrap();
    closing.await.unwrap();

    for accepted in accepting {
        assert_eq!(accepted.await.unwrap().unwrap(), Accepted::New);
    }
    assert!(matches!(
        test.store.spool_usage().await,
        Err(StoreError::Closed)
    ));
    let log = format!("{}-wal", test.settings.path.display());
    assert!(
        !std::fs::exists(log).unwrap(),
        "the write-ahead log is in the database"
    );
    assert_eq!(
        test.another().await.spool_usage().await.unwrap().requests,
        20
    );
}

#[tokio::test]
async fn what_was_accepted_survives_a_crash() {
    let test = TestStore::new().await;
    test.store.accept(request(1)).await.unwrap();
    let leased = test.lease(at(1)).await.unwrap();
    let test = test.after_crash().await;
    assert!(test.lease(at(2)).await.is_none(), "the lease holds");
    let again = test.lease(at(1) + HOLD).await.unwrap();
    assert_eq!(again.message, leased.message);
    let head = test.store.verify_audit(None).await.unwrap();
    assert_eq!(head.unwrap().sequence, 1);
}

#[tokio::test]
async fn a_look_finds_what_others_committed_and_nothing_of_its_own() {
    let test = TestStore::sqlite().await;
    let mut writer = Writer {
        settings: Arc::new(test.settings.clone()),
        chain_key: None,
        connection: Some(test.sqlite3()),
        seen: None,
        secrets: None,
        clock: Arc::default(),
        commits: Arc::default(),
        arrivals: Arc::default(),
        leisurely: Arc::default(),
    };
    let arrivals = writer.arrivals.clone();
    let mut look = async |statement: &'static str| {
        let connection = writer.connection.as_mut().unwrap();
        connection.run(statement).unwrap();
        let before = arrivals.arrived();
        writer.look_for_others();
        arrivals.arrived() != before
    };
    assert!(!look("SELECT 1").await, "the first look");
    assert!(!look("SELECT 1").await);
    assert!(!look("UPDATE kms_revision SET revision = 7").await);
    test.store.accept(request(1)).await.unwrap();
    assert!(look("UPDATE kms_revision SET revision = 8").await);
    assert!(!look("SELECT 1").await);
}

#[tokio::test]
async fn every_commit_is_synced_and_what_is_deleted_is_gone() {
    let test = TestStore::sqlite().await;
    execute(&test.store, "PRAGMA query_only = ON")
        .await
        .unwrap();
    // So that the next connection is a new one.
    for _ in ["opened anew", "kept"] {
        let row = read(
            &test.store,
            "SELECT synchronous, journal_mode, foreign_keys, secure_delete
                 FROM pragma_synchronous, pragma_journal_mode, pragma_foreign_keys,
                     pragma_secure_delete",
        )
        .await
        .unwrap();
        assert_eq!(row.get::<i64>("synchronous").unwrap(), 2, "FULL");
        assert_eq!(row.get::<String>("journal_mode").unwrap(), "wal");
        assert!(row.get::<bool>("foreign_keys").unwrap());
        assert!(row.get::<bool>("secure_delete").unwrap());
    }
}
