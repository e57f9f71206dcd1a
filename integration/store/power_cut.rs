//! A power cut, at any moment: from a trace of the writes and syncs of the real
//! gateway, some hundred states are rebuilt that the disk may be in afterwards,
//! with writes lost or torn that were not synced. Each is served, has all that
//! was accepted, and its audit log verifies.

mod disk;
mod sink;
mod trace;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use disk::{Disk, Luck};
use fastrand::Rng;
use jiff::Timestamp;
use kms_gateway::{
    audit::{ChainKey, Entry, Event},
    kms::KmsTables,
    secrets::MasterSecret,
    store::{Store, StoreError, StoreSettings},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use trace::{Trace, marker, markers, strace};

use crate::harness::{
    Gateway, House, Layout, Milter, kms_gateway, output, request_with, send, taken, until,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// How likely a write that isn't synced is kept.
const LUCKS: [Luck; 5] = [Luck(0.0), Luck(0.3), Luck(0.6), Luck(0.9), Luck(1.0)];

const PAGE: usize = 4096;

fn seeded() -> Rng {
    let seed = std::env::var("POWER_CUT_SEED").ok();
    let seed = seed.map_or_else(
        || Rng::new().u64(..),
        |seed| seed.parse().expect("a number"),
    );
    println!("POWER_CUT_SEED={seed}");
    Rng::with_seed(seed)
}

/// A gateway alone that nobody limits, and that hands its replies to a sink.
fn house() -> Layout {
    let layout = House::layout();
    layout.set_gateway("throttle", "at_once", 100_000);
    layout.set_gateway("throttle", "block_above", 200_000);
    layout.set_gateway("throttle", "newcomers_at_once", 100_000);
    layout.set_gateway("reply", "smtp", layout.port(18027).to_string());
    layout
}

/// Asks for so many answers by several sessions at once.
fn ask_all(layout: &Layout, numbers: std::ops::Range<usize>) {
    const SESSIONS: usize = 3;
    thread::scope(|scope| {
        for session in 0..SESSIONS {
            let numbers = numbers.clone().skip(session).step_by(SESSIONS);
            scope.spawn(move || {
                let mut milter = Milter::session(layout.port(8890));
                for number in numbers {
                    let subject = format!("{{KMS:Help}} {}", marker(number));
                    let body = "please ".repeat(number % 7 * 500);
                    let fields = request_with("Subject", &subject);
                    assert_eq!(send(&mut milter, &fields, body.as_bytes()), taken());
                }
            });
        }
    });
}

/// Ends the gateway, and waits until strace has written down all that it did.
fn finished(gateway: Gateway, is_crash: bool, file: &Path) -> String {
    let process = gateway.id().to_string();
    match is_crash {
        true => gateway.kill(),
        false => assert!(gateway.stop().success()),
    }
    let is_end = |line: &str| {
        let line = line.split_once(' ');
        line.is_some_and(|(own, event)| own == process && event.trim_start().starts_with("+++"))
    };
    until("the whole trace", PATIENCE, || {
        tail(file).lines().any(is_end).then_some(())
    });
    fs::read_to_string(file).expect("a trace")
}

/// The last lines of a trace, where each thread's end is.
fn tail(file: &Path) -> String {
    let file = File::open(file).expect("a trace");
    let length = file.metadata().expect("its length").len();
    let from = length.saturating_sub(8192);
    let mut tail = vec![0; usize::try_from(length - from).expect("a length")];
    file.read_exact_at(&mut tail, from).expect("it");
    String::from_utf8_lossy(&tail).into_owned()
}

/// Requests in each of the gateway's two lives: enough for SQLite to move its
/// log into the database several times.
const REQUESTS: usize = 90;

/// The gateway at work: taking requests, answering them, moving its log into
/// the database; stopped, started again and killed.
fn work(layout: &Layout) -> Trace {
    let replies = sink::listen(layout.port(18027));
    let mut trace = String::new();
    for (numbers, is_crash) in [(0..REQUESTS, false), (REQUESTS..2 * REQUESTS, true)] {
        let file = layout.directory().join(format!("gateway/{is_crash}.trace"));
        let gateway = layout.start_traced_gateway(&strace(&file));
        let expected = numbers.end - 10;
        ask_all(layout, numbers);
        // Some are still on their way.
        until("most replies", PATIENCE, || {
            (replies.load(Ordering::Relaxed) >= expected).then_some(())
        });
        trace += &finished(gateway, is_crash, &file);
    }
    Trace(trace)
}

/// A store as `serve` opens it.
struct Opening {
    runtime: Runtime,
    path: PathBuf,
    secret: MasterSecret,
}

impl Opening {
    fn of(database: &Path, master_secret: &Path) -> Self {
        Self {
            runtime: Runtime::new().expect("a runtime"),
            path: database.to_owned(),
            secret: MasterSecret::from_file(master_secret).expect("the master secret"),
        }
    }

    /// The contents of the store, once its audit log verifies.
    fn held(&self) -> Result<Held, StoreError> {
        self.runtime.block_on(async {
            let settings = StoreSettings::new(&self.path);
            let chain_key = ChainKey::new(self.secret.derive("audit-chain").expose());
            let store = Store::open_checked(&settings, Some(chain_key)).await?;
            store.verify_audit(None).await?.expect("the chain holds");
            let entries = store.audit_entries(1, u32::MAX).await?;
            let entries = entries
                .iter()
                .map(|stored| stored.entry().expect("an entry"));
            let queue = store.queue(Timestamp::now()).await?;
            let waiting = queue.iter().map(|queued| queued.request_id.to_string());
            let held = Held {
                entries: entries.collect(),
                waiting: waiting.collect(),
                kmc_keys: store.kmc_keys().await.expect("the keys").len(),
            };
            store.close().await;
            Ok(held)
        })
    }
}

/// The requests and keys of a store.
struct Held {
    entries: Vec<Entry>,
    /// Those that wait for an answer or whose answer waits for its hand-over.
    waiting: BTreeSet<String>,
    kmc_keys: usize,
}

impl Held {
    fn requests(&self, event: Event) -> Vec<&str> {
        let of_event = self.entries.iter().filter(|entry| entry.event == event);
        of_event
            .filter_map(|entry| entry.request_id.as_deref())
            .collect()
    }

    /// Each request is where its last audit entry says, and no two entries say
    /// the same. Gives the markers of those accepted.
    fn consistent(&self) -> BTreeSet<String> {
        let [accepted, completed, delivered] =
            [Event::Accepted, Event::Completed, Event::Delivered].map(|event| {
                let all = self.requests(event);
                let once: BTreeSet<&str> = all.iter().copied().collect();
                assert_eq!(all.len(), once.len(), "{event:?} twice");
                once
            });
        assert!(completed.is_subset(&accepted) && delivered.is_subset(&completed));
        let waiting: BTreeSet<&str> = accepted.difference(&delivered).copied().collect();
        assert_eq!(
            self.waiting
                .iter()
                .map(String::as_str)
                .collect::<BTreeSet<_>>(),
            waiting
        );
        let accepted = self
            .entries
            .iter()
            .filter(|entry| entry.event == Event::Accepted);
        let subjects = accepted.filter_map(|entry| entry.subject.as_deref());
        subjects.flat_map(markers).collect()
    }
}

#[test]
fn whatever_a_power_cut_leaves_is_served_and_has_all_that_was_accepted() {
    const STATES: usize = 300;
    let layout = house();
    let root = layout.directory().join("gateway");
    let before = Disk::new(&root);
    let trace = work(&layout);
    let disk = trace.to(before);
    let answers = trace.answers();
    assert_eq!(answers.len(), 2 * REQUESTS, "{answers:?}");

    let place = place();
    let to = place.path().join("gateway");
    let opening = Opening::of(&to.join("gateway.sqlite3"), &root.join("master.secret"));
    let mut rng = seeded();
    let growth = disk.growth(".sqlite3");
    println!(
        "{} lines, {} checkpointed pages made the file longer",
        trace.lines(),
        growth.len()
    );
    assert!(!growth.is_empty(), "no checkpoint was traced");
    let mut within_a_page = 0;
    for number in 0..STATES {
        let cut = match number % 4 {
            0 => growth[rng.usize(..growth.len())],
            _ => rng.usize(..=trace.lines()),
        };
        let luck = LUCKS[rng.usize(..LUCKS.len())];
        let state = disk.state(cut, luck, &mut rng);
        let database = &state.files[&root.join("gateway.sqlite3")];
        within_a_page += usize::from(!database.len().is_multiple_of(PAGE));
        state.write(&root, &to);
        let held = opening.held();
        let held = held.unwrap_or_else(|error| panic!("cut {cut}, {luck:?}: {error}"));
        let accepted = held.consistent();
        for (line, marker) in &answers {
            assert!(
                *line > cut || accepted.contains(marker),
                "cut {cut}, {luck:?}: {marker} is lost"
            );
        }
    }
    println!("{STATES} states, in {within_a_page} of them the file ended within a page");
    assert!(within_a_page > 0);
    // A few by the program itself, in the place of the files as they were.
    for cut in growth.iter().step_by(growth.len().div_ceil(3)) {
        disk.state(*cut, Luck(0.5), &mut rng).write(&root, &root);
        let gateway = layout.start_gateway();
        ask_all(&layout, 0..3);
        assert!(gateway.stop().success());
    }
}

/// An installation in directories of its own.
struct Installation {
    root: PathBuf,
}

impl Installation {
    fn config(&self) -> PathBuf {
        self.root.join("etc/gateway.toml")
    }

    fn secret(&self) -> PathBuf {
        self.root.join("etc/master.secret")
    }

    fn database(&self) -> PathBuf {
        self.root.join("lib/gateway.sqlite3")
    }

    /// The arguments of `init`. The rest is in the configuration once there is one.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = ["init", "--issuer", "Example"].map(str::to_owned).to_vec();
        if !self.config().exists() {
            let (secret, database) = (self.secret(), self.database());
            arguments.extend(["--address".to_owned(), "kms@example.org".to_owned()]);
            arguments.push(format!("--master-secret-file={}", secret.display()));
            arguments.push(format!("--database={}", database.display()));
        }
        arguments
    }

    fn init(&self) -> Command {
        let mut command = kms_gateway(&self.config(), &[]);
        command.args(self.arguments());
        command
    }
}

/// Another run finishes one that was cut short. Until then nothing is taken for a
/// database that isn't one.
#[test]
fn whatever_is_left_of_a_first_start_is_finished_by_the_next() {
    const STATES: usize = 60;
    let place = place();
    let installation = Installation {
        root: place.path().join("root"),
    };
    fs::create_dir(&installation.root).expect("a directory");
    let before = Disk::new(&installation.root);
    let trace = Trace::of(&installation.init(), &place.path().join("init.trace"));
    let disk = trace.to(before);
    let names = disk.changes_of_names();
    let mut rng = seeded();
    for number in 0..STATES {
        // The last of them are those when the command has said that all is done.
        let cut = match number {
            55.. => trace.lines(),
            30.. => rng.usize(..trace.lines()),
            _ => names[number % names.len()] + rng.usize(..4),
        };
        let luck = LUCKS[number % LUCKS.len()];
        let state = disk.state(cut, luck, &mut rng);
        state.write(&installation.root, &installation.root);
        let is_finished = number >= 55;
        installation.is_nothing_or_sound(&format!("cut {cut}, {luck:?}"));
        let again = output(&mut installation.init(), b"");
        let scene = format!("cut {cut}, {luck:?}: {again:?}");
        match again.code {
            Some(0) => assert!(!is_finished, "{scene}"),
            _ => assert!(
                again.stderr.contains("nothing is left to be set up"),
                "{scene}"
            ),
        }
        let opening = Opening::of(&installation.database(), &installation.secret());
        assert_eq!(opening.held().expect("a store").kmc_keys, 1, "{scene}");
    }
}

impl Installation {
    /// As `serve` would find it.
    fn is_nothing_or_sound(&self, scene: &str) {
        if !self.secret().exists() || !self.database().exists() {
            return;
        }
        match Opening::of(&self.database(), &self.secret()).held() {
            Ok(held) => assert!(held.kmc_keys <= 1, "{scene}"),
            Err(StoreError::Empty { .. }) => {}
            Err(error) => panic!("{scene}: {error}"),
        }
    }
}

#[test]
fn a_copy_of_the_name_that_was_asked_for_is_whole() {
    const STATES: usize = 60;
    let layout = house();
    let replies = sink::listen(layout.port(18027));
    let gateway = layout.start_gateway();
    ask_all(&layout, 0..40);
    until("the replies", PATIENCE, || {
        (replies.load(Ordering::Relaxed) >= 40).then_some(())
    });
    let root = layout.directory().join("gateway");
    let to = root.join("copy");
    let before = Disk::new(&root);
    let file = root.join("backup.trace");
    let arguments = ["backup", to.to_str().expect("a path in UTF-8")];
    let trace = Trace::of(&kms_gateway(&layout.config(), &arguments), &file);
    let disk = trace.to(before);
    drop(gateway);

    let place = place();
    let copy = place.path().join("gateway/copy");
    let opening = Opening::of(&copy, &root.join("master.secret"));
    let mut rng = seeded();
    let mut whole = 0;
    for number in 0..STATES {
        let cut = match number % 4 {
            0 => trace.lines(),
            _ => rng.usize(..=trace.lines()),
        };
        let luck = LUCKS[rng.usize(..LUCKS.len())];
        disk.state(cut, luck, &mut rng)
            .write(&root, &place.path().join("gateway"));
        if copy.exists() {
            let held = opening.held();
            let held = held.unwrap_or_else(|error| panic!("cut {cut}, {luck:?}: {error}"));
            assert_eq!(held.requests(Event::Accepted).len(), 40);
            whole += 1;
        }
        assert!(
            copy.exists() || cut < trace.lines(),
            "cut {cut}, {luck:?}: no copy"
        );
    }
    println!("{STATES} states, in {whole} of them there was a copy");
}

/// A directory in which states are rebuilt: in memory, if there is room.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => TempDir::with_prefix_in("kms-gateway-", memory),
        false => TempDir::with_prefix("kms-gateway-"),
    };
    made.expect("a directory")
}
