//! The spool's commits beside what the disk can sync.

use std::{
    fs::{self, DirBuilder, File},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;
use kms_gateway::{
    audit::{ChainKey, Entry, Event},
    mail::{Message, Request, ServiceCode},
    policy::{Charges, Trust},
    request_id::RequestId,
    store::{Accepted, NewRequest, NoticeSettings, Store, StoreSettings},
};
use tokio::{runtime::Runtime, task::JoinSet};

use super::{
    arena::{Arena, per_second},
    figures::{Case, Table},
    plan::Plan,
    report::Section,
};

const PART: [u8; 4096] = [0; 4096];
const RATE: &str = "requests/s";
const TOGETHER: &str = "requests a commit";

pub fn measure(arena: &mut Arena, plan: &Plan) -> Section {
    let directory = arena.site.layout.directory().join("commits");
    let runtime = Runtime::new().expect("a runtime");
    let mut cases = vec![Case::new("fdatasync of 4 KiB", || {
        vec![syncs(&directory, plan.commits), 1.0]
    })];
    for tasks in [1, 20, 100] {
        let (directory, runtime) = (&directory, &runtime);
        cases.push(Case::new(format!("{tasks} at once"), move || {
            runtime.block_on(accepts(directory, tasks, plan.commits * tasks.min(10)))
        }));
    }
    let table = Table::interleaved(&[RATE, TOGETHER], plan.rounds, cases);
    Section {
        title: "The spool's commits",
        method: "Requests of 1 KiB that the store has accepted, beside writing to a file and syncing it, in the same \
                 directory. Those that wait at the same time share a commit."
            .to_owned(),
        table,
        bounds: Vec::new(),
    }
}

/// How often a second a part of a file that is there already can be written and
/// synced, as a database does with its log.
fn syncs(directory: &Path, count: usize) -> f64 {
    fs::create_dir_all(directory).expect("a directory");
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

/// Requests a second, and how many of them a commit had.
async fn accepts(directory: &Path, tasks: usize, count: usize) -> Vec<f64> {
    let path = directory.join("store");
    DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .expect("a directory");
    let mut settings = StoreSettings::new(path.join("gateway.sqlite3"));
    settings.max_requests = 100_000;
    settings.max_bytes = 1 << 30;
    let opened = Store::open(&settings, Some(ChainKey::new(&[7; 32])));
    let store = opened.await.expect("a store");
    let commits = store.commits();
    let begun = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..tasks {
        let (store, begun) = (store.clone(), begun.clone());
        senders.spawn(async move {
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                let accepted = store.accept(request(number)).await.expect("room");
                assert_eq!(accepted, Accepted::New);
            }
        });
    }
    senders.join_all().await;
    let taken = started.elapsed();
    let commits = usize::try_from(store.commits() - commits).expect("a count");
    store.close().await;
    fs::remove_dir_all(path).expect("a directory");
    vec![per_second(count, taken), count as f64 / commits as f64]
}

fn request(number: usize) -> NewRequest {
    let now = Timestamp::now();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let mut identity = [0; 32];
    identity[..8].copy_from_slice(&number.to_be_bytes());
    let sender = format!("sender{number}@vendor.example");
    NewRequest {
        id: RequestId::from_bytes(id),
        accepted_at: now,
        queue_id: format!("QUEUE{number}"),
        reverse_path: sender.clone(),
        client: Some(IpAddr::from([192, 0, 2, 1])),
        sender,
        identity: Some(identity),
        trust: Trust::Verified,
        network: None,
        request: Request::judged(
            &Message::from_bytes(b"Subject: {KMS:Help}\r\n\r\n"),
            ServiceCode::Help,
            "kms@gateway.example".parse().expect("an address"),
            vec!["vendor@vendor.example".parse().expect("an address")],
        ),
        message: vec![b'x'; 1024],
        charges: Charges::default(),
        forget_before: now - NewRequest::IDENTITY_KEPT,
        notice: NoticeSettings::default(),
        audit: Entry::new(now, Event::Judged),
    }
}
