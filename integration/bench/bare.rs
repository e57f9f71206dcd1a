//! A bare program that keeps the rows of accepted requests in SQLite, to compare the store with.
//!
//! It does what nobody could leave out who keeps these rows as safely. It has the store's tables,
//! indexes and pragmas. A hundred tasks wait, each for its commit. One thread owns the connection.
//! It takes all that wait, as many as the store's writer would, and inserts the rows of each by
//! statements that it prepared once. Then it commits, and answers.
//!
//! It leaves out all that decides. It looks for no duplicate, reads no allowance, bound or free
//! space, forgets nothing, and calculates no link of the audit chain: its rows are finished before
//! the clock runs.

use std::{
    path::Path,
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, Statement, params_from_iter, types::Value};
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait, and so share a commit: as many as in the store.
const QUEUE: usize = 128;

/// The tables in which an accepted request leaves rows. The first column of each orders them as
/// the requests came.
const TABLES: [&str; 5] = [
    "requests",
    "request_messages",
    "identities",
    "throttle",
    "audit",
];

const COUNT: &str = "UPDATE spool_usage SET requests = requests + 1, bytes = bytes + ?1";

/// The rows that one acceptance leaves behind: values for the program's statements.
#[derive(Clone)]
pub struct Kept(Vec<(usize, Vec<Value>)>);

/// Reads the rows that so many acceptances left in the store's database, which was empty before.
pub fn kept(database: &Path, requests: usize) -> Vec<Kept> {
    let connection = Connection::open(database).expect("the database");
    let mut kept: Vec<Kept> = (0..requests).map(|_| Kept(Vec::new())).collect();
    let rows = TABLES.map(|table| format!("SELECT * FROM {table} ORDER BY 1"));
    let sizes = "SELECT size FROM requests ORDER BY sequence".to_owned();
    for (statement, select) in rows.into_iter().chain([sizes]).enumerate() {
        let rows = all(&connection, &select);
        assert!(!rows.is_empty() && rows.len().is_multiple_of(requests));
        let of_each = rows.len() / requests;
        for (place, row) in rows.into_iter().enumerate() {
            kept[place / of_each].0.push((statement, row));
        }
    }
    kept
}

fn all(connection: &Connection, select: &str) -> Vec<Vec<Value>> {
    let mut select = connection.prepare(select).expect("a statement");
    let columns = select.column_count();
    let rows = select.query_map([], |row| (0..columns).map(|place| row.get(place)).collect());
    rows.and_then(Iterator::collect).expect("rows")
}

/// The way to the running program.
#[derive(Clone)]
pub struct Inbox(mpsc::Sender<Waiting>);

type Waiting = (Kept, oneshot::Sender<()>);

/// Begins to write to a database that has the store's schema and is empty. The program ends when
/// the last inbox is dropped. Its thread returns how many transactions it committed.
pub fn begin(database: &Path) -> (Inbox, JoinHandle<usize>) {
    let (inbox, waiting) = mpsc::channel(QUEUE);
    let connection = open(database);
    (Inbox(inbox), thread::spawn(|| write(connection, waiting)))
}

impl Inbox {
    /// Has these rows kept, and waits for their commit.
    pub async fn keep(&self, rows: Kept) {
        let (answer, committed) = oneshot::channel();
        let sent = self.0.send((rows, answer)).await;
        assert!(sent.is_ok(), "the writer ended");
        committed.await.expect("a commit");
    }
}

fn write(connection: Connection, mut waiting: mpsc::Receiver<Waiting>) -> usize {
    let mut statements = statements(&connection);
    let run = |statement| connection.execute_batch(statement).expect(statement);
    let mut group = Vec::with_capacity(QUEUE);
    let mut commits = 0;
    while waiting.blocking_recv_many(&mut group, QUEUE) > 0 {
        run("BEGIN IMMEDIATE");
        for (Kept(rows), _) in &group {
            for (statement, values) in rows {
                let changed = statements[*statement].execute(params_from_iter(values));
                assert_eq!(changed, Ok(1));
            }
        }
        run("COMMIT");
        commits += 1;
        for (_, answer) in group.drain(..) {
            answer.send(()).expect("a task that waits");
        }
    }
    commits
}

fn open(database: &Path) -> Connection {
    let connection = Connection::open(database).expect("the database");
    let pragmas = "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA wal_autocheckpoint = 3000;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;";
    connection.execute_batch(pragmas).expect("the pragmas");
    connection
}

fn statements(connection: &Connection) -> Vec<Statement<'_>> {
    let insert = |table| {
        let rows = connection.prepare(&format!("SELECT * FROM {table}"));
        let columns = rows.expect("a table").column_count();
        let places = vec!["?"; columns].join(", ");
        format!("INSERT INTO {table} VALUES ({places})")
    };
    let statements = TABLES.into_iter().map(insert).chain([COUNT.to_owned()]);
    statements
        .map(|statement| connection.prepare(&statement).expect("a statement"))
        .collect()
}
