//! A database that is damaged, or of a newer version, ends `serve` at start
//! with one line that names the file, what was found and what to do; and so it
//! stays as it is. Damage that no crash does ends it just after.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    process::Command,
};

use crate::harness::{House, Layout, Milter, ask, run, taken};

const PAGE: u64 = 4096;

/// A gateway's database, with some requests in its past, and a copy to start
/// from again.
struct Database {
    layout: Layout,
    path: PathBuf,
    sound: Vec<u8>,
}

impl Database {
    fn new() -> Self {
        let House { gateway, layout } = House::new();
        for _ in 0..20 {
            assert_eq!(ask(&mut Milter::session(layout.port(8890))), taken());
        }
        assert!(gateway.stop().success());
        let path = layout.directory().join("gateway/gateway.sqlite3");
        let sound = fs::read(&path).expect("the database");
        Self {
            layout,
            path,
            sound,
        }
    }

    fn sqlite3(&self, statements: &str) -> String {
        run(Command::new("sqlite3").arg(&self.path).arg(statements), b"")
    }

    /// The offset of the first page of a table or an index.
    fn page_of(&self, name: &str) -> u64 {
        let root = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'");
        let page: u64 = self.sqlite3(&root).trim().parse().expect("a number");
        (page - 1) * PAGE
    }

    fn overwrite(&self, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path);
        file.expect("the database")
            .write_all_at(bytes, at)
            .expect("it");
    }

    fn restore(&self) {
        fs::write(&self.path, &self.sound).expect("the database");
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", self.path.display()));
        }
    }

    fn is_served(&self) {
        let gateway = self.layout.start_gateway();
        let mut session = Milter::session(self.layout.port(8890));
        assert_eq!(ask(&mut session), taken());
        drop(session);
        assert!(gateway.stop().success());
    }

    /// The one line with which `serve` refuses, which must name the file.
    #[track_caller]
    fn refusal(&self) -> String {
        let before = fs::read(&self.path).expect("the database");
        let ended = self.layout.try_gateway(&["serve"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let [line] = lines[..] else {
            panic!("not one line: {ended:?}")
        };
        let path = self.path.to_str().expect("a path in UTF-8");
        assert!(line.contains(path), "{line}");
        let after = fs::read(&self.path).expect("the database");
        assert!(before == after, "the file was changed");
        println!("{line}");
        line.to_owned()
    }
}

#[test]
fn a_damaged_file_is_not_served() {
    let database = Database::new();
    let mut refused = 0;
    for name in [
        "requests",
        "identities",
        "audit",
        "vending_keys",
        "identities_age",
    ] {
        database.overwrite(database.page_of(name), &[0x5A; 200]);
        let line = database.refusal();
        assert!(line.contains("is damaged: "), "{line}");
        assert!(line.contains("restore the backup"), "{line}");
        refused += 1;
        database.restore();
    }
    let length = database.sound.len();
    for kept in [length - 1, length - 4096, length / 2, 5000, 4096] {
        fs::write(&database.path, &database.sound[..kept]).expect("the database");
        let line = database.refusal();
        assert!(line.contains("is damaged: "), "{line}");
        assert!(line.contains("restore the backup"), "{line}");
        refused += 1;
        database.restore();
    }
    // Its beginning: no program knows any more whose it was.
    database.overwrite(0, &[0x5A; 200]);
    let line = database.refusal();
    assert!(line.contains("restore the backup if it was one"), "{line}");
    refused += 1;
    database.restore();

    database.is_served();
    println!("{refused} damaged files refused; the sound one is served");
}

/// A page at the end of the file that no table has. Only the check of the whole file finds it.
#[test]
fn damage_that_no_crash_does_ends_the_gateway_while_it_serves() {
    let database = Database::new();
    let mut damaged = database.sound.clone();
    damaged.extend([0; PAGE as usize]);
    let pages = u32::try_from(damaged.len() as u64 / PAGE).expect("a number of pages");
    // Format of the file's header: sqlite.org/fileformat2.html, section 1.3.
    damaged[28..32].copy_from_slice(&pages.to_be_bytes());
    fs::write(&database.path, damaged).expect("the database");

    let ended = database.layout.try_gateway(&["serve"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("INFO  serving"), "{ended:?}");
    let said = ended.stderr.lines().last().expect("a line").to_owned();
    assert!(said.contains("is damaged: "), "{said}");
    assert!(said.contains("restore the backup"), "{said}");

    // Every other start refuses it at once, with the same words.
    assert_eq!(database.refusal(), said);
    assert_eq!(database.refusal(), said);
    let checked = database.layout.try_gateway(&["check"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stdout.contains("is damaged: "), "{checked:?}");

    database.restore();
    database.is_served();
    let log = fs::read_to_string(database.layout.directory().join("gateway/serve.log"));
    let log = log.expect("the log");
    assert!(
        log.contains("the whole database is checked and sound"),
        "{log}"
    );
}

#[test]
fn a_newer_schema_is_not_served() {
    let database = Database::new();
    database.sqlite3("UPDATE schema_version SET version = 999, usable_from = 999");
    let line = database.refusal();
    assert!(line.contains("its schema is version 999"), "{line}");
    assert!(line.contains("use the program that made it"), "{line}");
    database.restore();
    database.is_served();
}

/// To SQLite such a file is a new database, to a gateway one without any key.
#[test]
fn an_empty_file_or_none_is_not_served() {
    let database = Database::new();
    fs::write(&database.path, "").expect("the database");
    let line = database.refusal();
    assert!(
        line.contains("no database is there; restore the backup"),
        "{line}"
    );
    fs::remove_file(&database.path).expect("the database");
    let ended = database.layout.try_gateway(&["serve"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no database is there"), "{ended:?}");
    assert!(!database.path.exists(), "a new one was made");
}
