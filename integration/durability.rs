//! 250 means that the request is on disk: shown by the system calls of the
//! running gateway, not by surviving a kill, for what the kernel holds
//! survives one too.

#![allow(clippy::expect_used, clippy::panic)]

mod harness;

use std::{collections::HashMap, fs, path::Path, thread};

use harness::{ALICE, Call, Draft, GATEWAY, Layout, Site, calls, until};

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

/// What ties a message on the wire, its pages in the log and its answer.
fn marker(number: usize) -> String {
    format!("marker-{number:04}-")
}

/// What the gateway did that matters here, each with the line of strace's
/// output at which it happened.
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

/// What a call means here, at the line that is least in our favour.
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
