//! The time of an acceptance and of a lease where the store holds much already.

use std::{slice, sync::Arc};

use kms_gateway::store::Store;
use tokio::runtime::Runtime;

use super::{
    arena::Arena,
    figures::{Case, Limit, Table},
    plan::Plan,
    report::{Bound, Section},
    sample,
    stores::{Database, Engine, accept, lease},
};

/// The time that one takes. Of a hundred at once it is their share.
const FIGURES: [&str; 4] = [
    "accept, µs",
    "lease, µs",
    "accept, 100 at once, µs",
    "lease, 100 at once, µs",
];

pub fn measure(arena: &mut Arena, plan: &Plan) -> Section {
    let runtime = Runtime::new().expect("a runtime");
    let runtime = &runtime;
    let engines = [
        ("SQLite", Engine::Sqlite(arena.site.layout.directory())),
        ("PostgreSQL", Engine::Postgresql(&arena.postgresql)),
    ];
    let [waiting, audited] = [plan.waiting, plan.audit_entries];
    let mut cases = Vec::new();
    let mut ratios = Vec::new();
    for (name, engine) in engines {
        let names = [
            format!("{name}, empty"),
            format!("{name}, {waiting} requests waiting"),
            format!("{name}, {audited} audit entries"),
        ];
        let [empty, with_waiting, with_audited] = names.clone();
        cases.push(Case::new(empty, move || {
            runtime.block_on(Held::measure_empty(engine, plan.acceptances))
        }));
        let mut held = runtime.block_on(Held::with_waiting(engine, waiting));
        cases.push(Case::new(with_waiting, move || {
            runtime.block_on(held.measure(plan.acceptances))
        }));
        let mut held = runtime.block_on(Held::with_audited(engine, audited));
        cases.push(Case::new(with_audited, move || {
            runtime.block_on(held.measure(plan.acceptances))
        }));
        ratios.push(names);
    }
    let table = Table::interleaved(&FIGURES, plan.rounds, cases);
    let bounds = ratios
        .iter()
        .flat_map(|[empty, full @ ..]| full.iter().flat_map(|full| bounds(&table, full, empty)));
    Section {
        title: "Full stores",
        method: format!(
            "{} acceptances a round, then as many leases, one after the other and again 100 at once. The time is \
             what one takes until its commit, or its share of the time where there are many. The full stores keep \
             what they get in a round. The empty one is new in each.",
            plan.acceptances
        ),
        bounds: bounds.collect(),
        table,
    }
}

fn bounds(table: &Table, full: &str, empty: &str) -> [Bound; FIGURES.len()] {
    FIGURES.map(|figure| Bound {
        what: format!("{full} / empty: {figure}"),
        limit: Limit::AtMost(1.3),
        found: table.ratio(full, empty, figure),
        itself: None,
    })
}

/// A store that holds something.
struct Held<'a> {
    store: Arc<Store>,
    /// Requests that it was given so far.
    requests: usize,
    database: Database<'a>,
}

impl<'a> Held<'a> {
    async fn empty(engine: Engine<'a>, name: &str) -> Self {
        let database = Database::new(engine, name);
        Self {
            store: database.open().await,
            requests: 0,
            database,
        }
    }

    async fn measure_empty(engine: Engine<'a>, acceptances: usize) -> Vec<f64> {
        let mut empty = Self::empty(engine, "empty").await;
        let figures = empty.measure(acceptances).await;
        empty.store.close().await;
        figures
    }

    /// With so many requests that are due, each of another sender.
    async fn with_waiting(engine: Engine<'a>, requests: usize) -> Self {
        let mut held = Self::empty(engine, "waiting").await;
        held.accept(100, requests).await;
        held
    }

    /// With so many entries in the audit log. Only the first is a link of its chain.
    async fn with_audited(engine: Engine<'a>, entries: usize) -> Self {
        let mut held = Self::empty(engine, "audited").await;
        held.accept(1, 1).await;
        held.database.run(&format!(
            "WITH RECURSIVE numbers (n) AS
                 (VALUES (2) UNION ALL SELECT n + 1 FROM numbers WHERE n < {entries})
             INSERT INTO audit (sequence, link, entry)
             SELECT n, link, entry FROM numbers CROSS JOIN audit WHERE sequence = 1"
        ));
        held.database.come_to_rest();
        held
    }

    async fn measure(&mut self, acceptances: usize) -> Vec<f64> {
        let mut figures = Vec::new();
        for tasks in [1, 100] {
            figures.push(self.accept(tasks, acceptances).await);
            figures.push(lease(&self.store, tasks, acceptances).await);
        }
        figures.iter().map(|rate| 1e6 / rate).collect()
    }

    async fn accept(&mut self, tasks: usize, count: usize) -> f64 {
        let begin = self.requests;
        self.requests += count;
        let requests = sample::requests(begin..self.requests);
        accept(slice::from_ref(&self.store), tasks, requests).await
    }
}
