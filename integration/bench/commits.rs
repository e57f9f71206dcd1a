//! The store's commits beside what the disk can sync, and beside a bare program's.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    slice,
    time::Instant,
};

use tokio::runtime::Runtime;

use super::{
    arena::{Arena, per_second},
    bare::{self, Inbox, Kept},
    figures::{Case, Limit, Table},
    plan::Plan,
    report::{Bound, Section},
    sample,
    stores::{Database, Engine, accept},
    tasks,
};

const PART: [u8; 4096] = [0; 4096];
const RATE: &str = "requests/s";
const TOGETHER: &str = "requests a commit";
const SYNCS: &str = "fdatasync of 4 KiB";
const ALONE: &str = "1 at once";
const SOME: &str = "20 at once";
const MANY: &str = "100 at once";
const BARE: &str = "bare program, 100 at once";
const ONE_NODE: &str = "PostgreSQL, 100 at once";
const TWO_NODES: &str = "PostgreSQL, two gateways, 50 at once each";

pub fn measure(arena: &mut Arena, plan: &Plan) -> Section {
    let directory = arena.site.layout.directory();
    let [sqlite, postgresql] = [
        Engine::Sqlite(directory),
        Engine::Postgresql(&arena.postgresql),
    ];
    let runtime = Runtime::new().expect("a runtime");
    let runtime = &runtime;
    let most = plan.commits * 10;
    let kept = runtime.block_on(kept(directory, most));
    let accepts = |name, engine, stores, tasks, count| {
        Case::new(name, move || {
            runtime.block_on(accepts(engine, stores, tasks, count))
        })
    };
    let cases = vec![
        Case::new(SYNCS, || vec![syncs(directory, plan.commits), 1.0]),
        accepts(ALONE, sqlite, 1, 1, plan.commits),
        accepts(SOME, sqlite, 1, 20, most),
        accepts(MANY, sqlite, 1, 100, most),
        Case::new(BARE, || {
            runtime.block_on(keeps(directory, 100, kept.clone()))
        }),
        accepts(ONE_NODE, postgresql, 1, 100, plan.commits),
        accepts(TWO_NODES, postgresql, 2, 100, plan.commits),
    ];
    let table = Table::interleaved(&[RATE, TOGETHER], plan.rounds, cases);
    let bound = |case: &str, other: &str, limit| Bound {
        what: format!("{case} / {other}"),
        limit: Limit::AtLeast(limit),
        found: table.ratio(case, other, RATE),
        itself: None,
    };
    Section {
        title: "The spool's commits",
        method: "Requests of 1 KiB that the store has accepted, beside writing to a file and syncing it, in the same \
                 directory. Those that wait at the same time share a commit. The bare program commits the same rows \
                 in groups on one thread, and decides nothing (`integration/bench/bare.rs`). PostgreSQL runs on this \
                 machine."
            .to_owned(),
        bounds: vec![
            bound(MANY, BARE, 0.5),
            bound(TWO_NODES, ONE_NODE, 1.0),
        ],
        table,
    }
}

/// How often a second a part of a file that is there already can be written and
/// synced, as a database does with its log.
fn syncs(directory: &Path, count: usize) -> f64 {
    let path = directory.join("file");
    let file = File::create(&path).expect("a file");
    let parts = 1_000;
    file.write_all_at(&vec![0; parts * PART.len()], 0)
        .expect("room");
    file.sync_all().expect("a disk");
    let started = Instant::now();
    for number in 0..count {
        let at = number % parts * PART.len();
        file.write_all_at(&PART, u64::try_from(at).expect("a place"))
            .expect("room");
        file.sync_data().expect("a disk");
    }
    let rate = per_second(count, started.elapsed());
    fs::remove_file(path).expect("a file");
    rate
}

/// The rate of stores on one database, and how many requests a commit had.
async fn accepts(engine: Engine<'_>, stores: usize, tasks: usize, count: usize) -> Vec<f64> {
    let database = Database::new(engine, "store");
    let mut open = Vec::new();
    for _ in 0..stores {
        open.push(database.open().await);
    }
    let committed = || open.iter().map(|store| store.commits()).sum::<u64>();
    let before = committed();
    let rate = accept(&open, tasks, sample::requests(0..count)).await;
    let commits = committed() - before;
    for store in &open {
        store.close().await;
    }
    vec![rate, count as f64 / commits as f64]
}

/// The rows that so many acceptances leave in the store.
async fn kept(directory: &Path, count: usize) -> Vec<Kept> {
    let database = Database::new(Engine::Sqlite(directory), "store");
    let store = database.open().await;
    accept(slice::from_ref(&store), 100, sample::requests(0..count)).await;
    store.close().await;
    bare::kept(&database.file(directory), count)
}

/// The rate of the bare program that keeps the same, and how much of it a commit had.
async fn keeps(directory: &Path, tasks: usize, kept: Vec<Kept>) -> Vec<f64> {
    let count = kept.len();
    let database = Database::new(Engine::Sqlite(directory), "store");
    // Makes the schema.
    database.open().await.close().await;
    let (inbox, program) = bare::begin(&database.file(directory));
    let keep = async |(inbox, rows): (Inbox, Kept)| inbox.keep(rows).await;
    let kept = kept.into_iter().map(|rows| (inbox.clone(), rows)).collect();
    drop(inbox);
    let rate = tasks::rate(tasks, kept, keep).await;
    let commits = program.join().expect("the program's end");
    vec![rate, count as f64 / commits as f64]
}
