//! The time until a gateway that is started takes mail, however long its audit log is.

use std::{
    fs::File,
    io::Read as _,
    net::TcpStream,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use kms_gateway::secrets::MasterSecret;
use rusqlite::{Connection, params};
use rustix::fs::{Advice, fadvise};
use sha2::Sha256;

use super::{
    arena::{Arena, port},
    figures::{Case, Limit, Table},
    harness::{Gateway, House, Layout, kms_gateway},
    plan::Plan,
    report::{Bound, Section},
};

const STARTED: &str = "start, ms";
const CHECKED: &str = "whole check, ms";
const PATIENCE: Duration = Duration::from_secs(600);

/// Length of the text in an entry.
const DETAIL: usize = 1_150;

const EMPTY: &str = "empty store";
const AGAIN: &str = "the same, again";
const IN_MEMORY: &str = "long log, in memory";
const ON_DISK: &str = "long log, on disk";
const READING: &str = "reading that file from disk";

pub fn measure(_: &mut Arena, plan: &Plan) -> Section {
    let empty = Installation::new(0);
    let long = Installation::new(plan.audit_entries);
    let cases = vec![
        Case::new(EMPTY, || empty.start()),
        Case::new(AGAIN, || empty.start()),
        Case::new(IN_MEMORY, || {
            long.read();
            long.start()
        }),
        Case::new(ON_DISK, || {
            long.forget();
            long.start()
        }),
        Case::new(READING, || {
            long.forget();
            vec![long.read(), f64::NAN]
        }),
    ];
    let table = Table::interleaved(&[STARTED, CHECKED], plan.rounds, cases);
    let bound = |case: &str, other: &str, limit| Bound {
        what: format!("{case} / {other}"),
        limit,
        found: table.ratio(case, other, STARTED),
        itself: Some(table.ratio(AGAIN, EMPTY, STARTED)),
    };
    let bounds = vec![
        bound(ON_DISK, READING, Limit::AtMost(0.1)),
        bound(ON_DISK, EMPTY, Limit::ForComparison),
        bound(IN_MEMORY, EMPTY, Limit::ForComparison),
    ];
    let method = format!(
        "From the start of the program until its milter port takes a connection, and from there until the whole \
         database is checked. The long log has {} entries, {} MB in all. Before a start from disk, the kernel forgets \
         the file's pages (POSIX_FADV_DONTNEED). The last line is the time to read the whole file one page after \
         the other.",
        plan.audit_entries,
        long.bytes() / 1_000_000
    );
    Section {
        title: "Start",
        method,
        table,
        bounds,
    }
}

/// A gateway that does not run, and its database.
struct Installation {
    layout: Layout,
    database: PathBuf,
}

impl Installation {
    fn new(entries: usize) -> Self {
        let layout = House::layout();
        let database = layout.directory().join("gateway/gateway.sqlite3");
        let secret = layout.directory().join("gateway/master.secret");
        let secret = MasterSecret::from_file(&secret).expect("the master secret");
        append(entries, secret.derive("audit-chain").expose(), &database);
        Self { layout, database }
    }

    /// Starts the gateway and stops it when it has checked everything.
    fn start(&self) -> Vec<f64> {
        let log = self.layout.directory().join("serve.log");
        // Another run's line would end the wait too early.
        File::create(&log).expect("a log");
        let command = kms_gateway(&self.layout.config(), &["serve"]);
        let milter = self.layout.port(port::GATEWAY_MILTER);
        let begun = Instant::now();
        let gateway = Gateway::start_until(command, &log, || {
            soon(|| TcpStream::connect(milter).is_ok());
            true
        });
        let started = begun.elapsed();
        soon(|| gateway.log().contains("the whole database is checked"));
        let checked = begun.elapsed() - started;
        assert!(gateway.stop().success());
        vec![milliseconds(started), milliseconds(checked)]
    }

    /// Has the kernel forget what it holds of the file.
    fn forget(&self) {
        let file = File::open(&self.database).expect("the database");
        file.sync_all().expect("a disk");
        fadvise(&file, 0, None, Advice::DontNeed).expect("the kernel forgets");
    }

    /// The milliseconds that reading the file takes.
    fn read(&self) -> f64 {
        let begun = Instant::now();
        let mut file = File::open(&self.database).expect("the database");
        let mut part = vec![0; 1 << 20];
        while file.read(&mut part).expect("the database") > 0 {}
        milliseconds(begun.elapsed())
    }

    fn bytes(&self) -> u64 {
        self.database.metadata().expect("the database").len()
    }
}

/// Waits for it with a pause that counts for nothing beside a start.
fn soon(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        sleep(Duration::from_millis(1));
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Appends entries to the audit log of a database, with the links that a gateway would give them.
fn append(entries: usize, key: &[u8; 32], database: &Path) {
    let mut connection = Connection::open(database).expect("the database");
    let newest = "SELECT sequence, link FROM audit ORDER BY sequence DESC LIMIT 1";
    let newest = connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let (mut sequence, mut link): (i64, [u8; 32]) = newest.expect("an entry");
    let time = Timestamp::now();
    let detail = "x".repeat(DETAIL);
    let entry = format!(r#"{{"time":"{time}","event":"judged","detail":"{detail}"}}"#);
    let appending = connection.transaction().expect("a transaction");
    for _ in 0..entries {
        sequence += 1;
        let covered = Hmac::<Sha256>::new_from_slice(key).expect("a key");
        let covered = covered.chain_update(sequence.to_be_bytes());
        let covered = covered.chain_update(link).chain_update(&entry);
        link = covered.finalize().into_bytes().into();
        let insert = appending.prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3)");
        let mut insert = insert.expect("a statement");
        insert
            .execute(params![sequence, link, entry])
            .expect("room");
    }
    appending.commit().expect("room");
}
