//! 250 means that the request is on disk, and so is every file that a command
//! has made: shown by the system calls, not by surviving a kill, for what the
//! kernel holds survives one too.

use std::{collections::HashMap, fs, path::Path, process::Command, thread};

use tempfile::TempDir;

use crate::harness::{
    ALICE, Call, Draft, GATEWAY, Layout, Site, calls, kms_gateway, run, until, words,
};

/// Requests sent one after the other, then as many again at once.
const REQUESTS: usize = 8;

/// milter's SMFIR_DISCARD, the answer to end-of-message for a request that
/// was taken.
const TAKEN: &str = r#""\0\0\0\1d""#;

#[test]
fn every_answer_to_end_of_message_follows_a_sync_of_its_commit() {
    let trace = trace_of_requests(Layout::new());
    let answers = trace.answers();
    assert_eq!(answers.len(), 2 * REQUESTS, "answers seen: {answers:?}");
    assert_eq!(trace.unsynced(), Vec::<String>::new());
    println!("{} answers, each after a sync of its commit", answers.len());
}

/// The same check must see the difference.
#[test]
fn without_synchronous_commits_the_check_finds_every_answer_too_early() {
    let layout = Layout::new();
    layout.set_gateway("store", "synchronous_off", true);
    let trace = trace_of_requests(layout);
    assert_eq!(trace.unsynced().len(), 2 * REQUESTS);
    println!("{} answers, each found without a sync", 2 * REQUESTS);
}

fn trace_of_requests(layout: Layout) -> Trace {
    let file = layout.directory().join("strace.log");
    let path = file.to_str().expect("a path in UTF-8").to_owned();
    let calls = "trace=recvfrom,read,sendto,write,writev,sendmsg,pwrite64,fdatasync,fsync";
    let gateway = layout.start_traced_gateway(&["-y", "-s", "9000", "-e", calls, "-o", &path]);
    let site = layout.start_with(Some(gateway));
    for number in 0..REQUESTS {
        send(&site, number);
    }
    thread::scope(|scope| {
        for number in REQUESTS..2 * REQUESTS {
            let site = &site;
            scope.spawn(move || send(site, number));
        }
    });
    // Postfix has its answers; strace may still be writing what it saw.
    until(
        "the trace is complete",
        std::time::Duration::from_secs(20),
        || (Trace::read(&file).answers().len() >= 2 * REQUESTS).then_some(()),
    );
    Trace::read(&file)
}

fn send(site: &Site, number: usize) {
    let draft = Draft::request(&format!("{{KMS:Help}} {}", marker(number)), "");
    let answer = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(answer.code, 250, "{answer:?}");
}

/// The mark that ties a message on the wire, its pages in the log and its answer.
fn marker(number: usize) -> String {
    format!("marker-{number:04}-")
}

/// The gateway's acts that matter here, each with the line of strace's output at
/// which it happened.
struct Trace(Vec<(usize, Event)>);

enum Event {
    /// A message's header came in on this descriptor.
    Received { descriptor: String, marker: String },
    /// Pages with these markers were written to the write-ahead log.
    Written { markers: Vec<String> },
    /// A sync of the log was done that had begun at this line.
    Synced { began: usize },
    /// "Taken" was sent on this descriptor.
    Answered { descriptor: String },
}

impl Trace {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut events: Vec<(usize, Event)> = calls(&text).iter().filter_map(event).collect();
        events.sort_by_key(|(line, _)| *line);
        Self(events)
    }

    /// The markers of the messages that were answered, in order.
    fn answers(&self) -> Vec<String> {
        self.walk().into_iter().map(|(marker, _)| marker).collect()
    }

    /// The markers of the messages that were answered before a sync was done
    /// that had begun after their pages were written.
    fn unsynced(&self) -> Vec<String> {
        self.walk()
            .into_iter()
            .filter(|(_, synced)| !synced)
            .map(|(marker, _)| marker)
            .collect()
    }

    fn walk(&self) -> Vec<(String, bool)> {
        let mut on_descriptor: HashMap<&str, &str> = HashMap::new();
        let mut written: HashMap<&str, usize> = HashMap::new();
        let mut last_sync_began = None;
        let mut answers = Vec::new();
        for (line, event) in &self.0 {
            match event {
                Event::Received { descriptor, marker } => {
                    on_descriptor.insert(descriptor, marker);
                }
                Event::Written { markers } => {
                    for marker in markers {
                        written.entry(marker).or_insert(*line);
                    }
                }
                Event::Synced { began } => last_sync_began = last_sync_began.max(Some(*began)),
                Event::Answered { descriptor } => {
                    let marker = on_descriptor
                        .remove(descriptor.as_str())
                        .expect("an answer has a message");
                    let written = written.get(marker);
                    let synced = written.is_some_and(|written| last_sync_began > Some(*written));
                    answers.push((marker.to_owned(), synced));
                }
            }
        }
        answers
    }
}

/// The meaning of a call, at the line that is least in our favour.
fn event(call: &Call<'_>) -> Option<(usize, Event)> {
    let on_log = call.file().is_some_and(|file| file.ends_with("-wal"));
    let descriptor = call.descriptor().to_owned();
    let mut markers = markers(&call.arguments);
    match call.name {
        "pwrite64" | "write" | "writev" if on_log => Some((call.ended, Event::Written { markers })),
        "fdatasync" | "fsync" if on_log => Some((call.ended, Event::Synced { began: call.began })),
        "sendto" | "write" | "writev" | "sendmsg" if call.arguments.contains(TAKEN) => {
            Some((call.began, Event::Answered { descriptor }))
        }
        "recvfrom" | "read" => {
            let marker = markers.pop()?;
            Some((call.ended, Event::Received { descriptor, marker }))
        }
        _ => None,
    }
}

fn markers(text: &str) -> Vec<String> {
    let length = marker(0).len();
    text.match_indices("marker-")
        .filter_map(|(at, _)| text.get(at..at + length))
        .map(str::to_owned)
        .collect()
}

/// Commands that make files, in this order, each with the files; a word in braces
/// is the directory.
const MAKERS: &[(&str, &[&str])] = &[
    (
        "init --address kms@example.org --issuer Example --database {}/data/deep/database \
         --master-secret-file {}/etc/secret",
        &[
            "etc/gateway.toml",
            "etc/secret",
            "data/deep/database",
            "data/deep",
            "data",
            "etc",
        ],
    ),
    ("config set milter.keep_bcc true", &["etc/gateway.toml"]),
    (
        "kmc export --passphrase-file {}/passphrase --out {}/kmc.pem",
        &["kmc.pem"],
    ),
    ("backup {}/copy.sqlite3", &["copy.sqlite3"]),
    (
        "sm init --state {}/sm.json --registration {}/registration.json \
         --issuer Example --name 90000001 --hardware SOFT-1 --firmware 1.0",
        &["sm.json", "registration.json"],
    ),
    (
        "sm request --state {}/sm.json --public-key {}/public-key",
        &["sm.json"],
    ),
    (
        "update new-key --passphrase-file {}/passphrase --out {}/stsa.pem",
        &["stsa.pem"],
    ),
    (
        "secret rewrap --new-file {}/new-secret --create",
        &["new-secret"],
    ),
];

#[test]
fn every_file_that_a_command_makes_is_on_disk_with_its_name() {
    let directory = TempDir::with_prefix("kms-gateway-").expect("a directory");
    // As the kernel names it.
    let place = fs::canonicalize(directory.path()).expect("its path");
    let config = place.join("etc/gateway.toml");
    fs::write(place.join("passphrase"), "correct horse\n").expect("a passphrase");
    for (line, files) in MAKERS {
        let line = line.replace("{}", place.to_str().expect("a path in UTF-8"));
        let text = trace_of(&config, &line, &place.join("strace.log"));
        let calls = calls(&text);
        for file in *files {
            let path = place.join(file);
            assert!(path.exists(), "{line}: no {file}");
            assert_eq!(unsynced_part(&calls, &path), None, "{line}: {file}");
        }
        if line.starts_with("init") {
            let key = run(&mut kms_gateway(&config, &["kmc", "public-key"]), b"");
            fs::write(place.join("public-key"), key).expect("a public key");
        }
    }
}

fn trace_of(config: &Path, line: &str, file: &Path) -> String {
    let traced = "trace=openat,write,pwrite64,mkdir,rename,renameat,renameat2,fsync,fdatasync";
    let command = kms_gateway(config, &words(line));
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-y", "-s", "0", "-e", traced, "-o"])
        .arg(file);
    strace.arg(command.get_program()).args(command.get_args());
    run(&mut strace, b"");
    fs::read_to_string(file).expect("a trace")
}

/// The part of a file or directory that is not surely on the disk at the end.
fn unsynced_part(calls: &[Call<'_>], path: &Path) -> Option<&'static str> {
    let shown = path.display();
    let (own, name) = (format!("<{shown}>"), format!("\"{shown}\""));
    let directory = path.parent().expect("a directory").display();
    let made = calls.iter().rev().find(|call| makes(call, &name));
    let Some(made) = made else {
        return Some("it was not made here");
    };
    let synced_after = |line: usize, what: &str| {
        let mut syncs = calls.iter().filter(|call| call.name.ends_with("sync"));
        syncs.any(|call| call.began > line && call.arguments.contains(what))
    };
    // Up to a rename its content has another name.
    let former = made.arguments.split('"').nth(1).unwrap_or_default();
    let former = format!("<{former}>");
    let names = [own.as_str(), former.as_str()];
    let is_content = |call: &&Call| {
        let of_it = names.iter().any(|name| call.arguments.contains(name));
        call.name.contains("write") && of_it
    };
    let last_write = calls.iter().rev().find(is_content);
    match last_write {
        Some(write) if !names.iter().any(|name| synced_after(write.ended, name)) => {
            Some("its content")
        }
        _ if !synced_after(made.ended, &format!("<{directory}>")) => Some("its name"),
        _ => None,
    }
}

/// Whether a call gives this name, in quotation marks, to a file.
fn makes(call: &Call<'_>, name: &str) -> bool {
    let last = call.arguments.rsplit('"').nth(1);
    let is_last = last.is_some_and(|last| name == format!("\"{last}\""));
    match call.name {
        "openat" => call.arguments.contains("O_CREAT") && call.arguments.contains(name),
        "mkdir" => call.arguments.contains(name),
        "rename" | "renameat" | "renameat2" => is_last,
        _ => false,
    }
}
