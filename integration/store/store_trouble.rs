//! The store full, at its reserve, and read-only, beside a real Postfix: nothing
//! is accepted that isn't on disk, other mail flows, and when the trouble is
//! over everything is answered once, by the same process.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    ALICE, BOB, Draft, GATEWAY, Layout, Milter, Site, SmallDisk, ask, run, taken, until, words,
};

/// A loaded machine may need this long.
const PATIENCE: Duration = Duration::from_secs(60);

const MIB: u64 = 1 << 20;

/// A site whose database has a small disk of its own.
struct Trouble {
    // First: the site's directory can't be removed with a mount in it.
    disk: SmallDisk,
    site: Site,
}

impl Trouble {
    fn new(size: &str, min_free_bytes: u64, set: impl FnOnce(&Layout)) -> Self {
        let (layout, disk) = layout(size, min_free_bytes);
        set(&layout);
        let site = layout.start();
        Self { disk, site }
    }

    fn send(&self, recipients: &[&str], draft: &Draft) -> u16 {
        let mut smtp = self.site.smtp();
        smtp.send(ALICE, recipients, &draft.to_bytes()).code
    }

    /// The messages in Postfix's queue, which must be copies for the gateway alone.
    fn waiting(&self) -> usize {
        let queue = self.site.postfix.queue();
        let deferred = queue
            .iter()
            .filter(|queued| queued["queue_name"] == "deferred");
        let recipients = deferred.flat_map(|queued| queued["recipients"].as_array().expect("it"));
        recipients
            .inspect(|recipient| assert_eq!(recipient["address"], GATEWAY, "{recipient}"))
            .count()
    }

    /// How many final replies came to each Subject. One whose delivery could not
    /// be noted comes again, Message-ID and all: that is the same reply.
    fn replies(&self) -> BTreeMap<String, usize> {
        let mut replies: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for mail in self.site.mailbox(ALICE).mails() {
            if mail.result()[0] != "Notice" {
                let subject = mail.header("Subject").expect("a Subject");
                let sent = mail.as_sent().to_vec();
                replies.entry(subject).or_default().insert(sent);
            }
        }
        let counted = replies.into_iter();
        counted
            .map(|(subject, replies)| (subject, replies.len()))
            .collect()
    }

    /// Waits for the replies to all of these, and that each has one.
    fn all_answered_once(&self, drafts: &[Draft]) {
        until("everything is answered", PATIENCE, || {
            (self.replies().len() >= drafts.len()).then_some(())
        });
        let mut expected = BTreeMap::new();
        for draft in drafts {
            expected.insert(format!("Auto: {}", draft.header("Subject")), 1);
        }
        assert_eq!(self.replies(), expected);
    }

    /// As many requests are in the audit log as were answered by 250, in a chain
    /// and a file that hold.
    fn log_has(&self, accepted: usize) {
        let log = self.site.layout.gateway(&words("audit list --json"));
        let entries: Vec<serde_json::Value> = serde_json::from_str(&log).expect("an array");
        let of = |event: &str| {
            entries
                .iter()
                .filter(|entry| entry["event"] == event)
                .count()
        };
        assert_eq!((of("accepted"), of("completed")), (accepted, accepted));
        self.site.layout.gateway(&words("audit verify"));
        let database = self.disk.path().join("gateway.sqlite3");
        let checked = run(
            Command::new("sqlite3")
                .arg(database)
                .arg("PRAGMA integrity_check"),
            b"",
        );
        assert_eq!(checked, "ok\n");
    }
}

fn layout(size: &str, min_free_bytes: u64) -> (Layout, SmallDisk) {
    let layout = Layout::without_keys();
    let disk = SmallDisk::mount(layout.directory().join("store"), size);
    let path = disk.path().join("gateway.sqlite3");
    layout.set_gateway("store", "path", path.to_str().expect("a path in UTF-8"));
    let min_free_bytes = i64::try_from(min_free_bytes).expect("a number of TOML");
    layout.set_gateway("store", "min_free_bytes", min_free_bytes);
    // The lease of a failed attempt ends soon.
    layout.set_gateway("worker", "lease", "2s");
    layout.gateway(&words(
        "kmc init --create-master-secret --issuer Example --name K0001 --expires 20990101T000000Z",
    ));
    // Dropped in reverse: a directory can't be removed with a mount in it.
    (layout, disk)
}

/// As many as one likes at once.
fn no_allowance(layout: &Layout) {
    layout.set_gateway("throttle", "at_once", 1000);
    layout.set_gateway("throttle", "block_above", 2000);
}

fn help(number: usize, bytes: usize) -> Draft {
    let body = format!("{}\n", "x".repeat(70)).repeat(bytes / 71);
    Draft::request(&format!("{{KMS:Help}} {number}"), &body)
}

/// The gateway is served before, in and after a trouble that lets it write
/// nothing.
fn survives(trouble: &Trouble, begin: impl FnOnce(), end: impl FnOnce()) {
    const BYTES: usize = 20_000;
    let process = trouble.site.gateway.as_ref().expect("it runs").id();
    let mut drafts: Vec<Draft> = (0..3).map(|number| help(number, BYTES)).collect();
    for draft in &drafts {
        assert_eq!(trouble.send(&[GATEWAY], draft), 250);
    }
    trouble.all_answered_once(&drafts);

    begin();
    let mut refused = Vec::new();
    let mut taken_yet = 0;
    // A full disk has room in the write-ahead log's file for some more.
    while refused.len() < 5 {
        assert!(taken_yet < 200, "the trouble is none");
        let draft = help(drafts.len(), BYTES);
        match trouble.send(&[GATEWAY], &draft) {
            250 => taken_yet += 1,
            451 => refused.push(draft.clone()),
            code => panic!("{code}"),
        }
        drafts.push(draft);
    }
    let mixed = help(drafts.len(), 10 * BYTES);
    assert_eq!(trouble.send(&[GATEWAY, BOB], &mixed), 250);
    drafts.push(mixed);
    trouble.site.mailbox(BOB).wait_for_count(1);
    let waiting = until("the gateway's copy waits", PATIENCE, || {
        Some(trouble.waiting()).filter(|&waiting| waiting > 0)
    });
    assert_eq!(waiting, 1);

    end();
    for draft in &refused {
        assert_eq!(trouble.send(&[GATEWAY], draft), 250, "sent again");
    }
    trouble.site.postfix.deliver_all();
    trouble.all_answered_once(&drafts);
    assert_eq!(trouble.waiting(), 0);
    assert_eq!(trouble.site.mailbox(BOB).mails().len(), 1);
    trouble.log_has(drafts.len());
    let gateway = trouble.site.gateway.as_ref().expect("it runs");
    assert_eq!(gateway.id(), process, "no restart");
    println!(
        "{} requests answered once each: 3 before, {taken_yet} taken and {} refused by 451 in the \
         trouble, 1 of them for another too, who had his copy at once",
        drafts.len(),
        refused.len()
    );
}

#[test]
fn a_full_disk_refuses_by_451_and_all_is_answered_once_there_is_room() {
    let trouble = Trouble::new("8m", 0, no_allowance);
    survives(
        &trouble,
        || trouble.disk.fill(0),
        || trouble.disk.make_room(),
    );
}

/// A live file system becomes read-only after a disk error: each write is
/// refused by EROFS then. No mount(8) does that to a file that is open for
/// writing, so strace(1) gives the kernel's answer.
#[test]
fn a_read_only_disk_refuses_by_451_and_all_is_answered_once_it_is_writable() {
    let trouble = Trouble::new("8m", 0, no_allowance);
    let process = trouble.site.gateway.as_ref().expect("it runs").id();
    let read_only = RefCell::new(None);
    survives(
        &trouble,
        || drop(read_only.replace(Some(ReadOnly::begin(process)))),
        || drop(read_only.take()),
    );
}

/// strace at the gateway's side.
struct ReadOnly(Child);

impl ReadOnly {
    fn begin(process: u32) -> Self {
        let calls = "pwrite64,ftruncate,fallocate";
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &process.to_string()])
            .args(["-e", &format!("inject={calls}:error=EROFS")])
            .stdin(Stdio::null())
            .spawn();
        let begun = Self(child.expect("strace"));
        until("strace looks on", PATIENCE, || {
            is_traced(process).then_some(())
        });
        begun
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // It lets go of the gateway only if it is asked to.
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn is_traced(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let mut states =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
    states.all(|state| !state.contains("TracerPid:\t0\n"))
}

#[test]
fn a_gateway_does_not_start_on_a_read_only_disk() {
    let (layout, disk) = layout("8m", 0);
    disk.remount("ro");
    let ended = layout.try_gateway(&["serve"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let line = ended.stderr.lines().last().unwrap_or_default();
    assert!(
        line.contains(disk.path().to_str().expect("UTF-8")),
        "{line}"
    );
    assert!(line.contains("Read-only file system"), "{line}");
    println!("{line}");
    disk.remount("rw");
    let gateway = layout.start_gateway();
    let mut session = Milter::session(layout.port(8890));
    assert_eq!(ask(&mut session), taken());
    drop(session);
    assert!(gateway.stop().success());
}

#[test]
fn at_the_reserve_new_requests_get_452_and_those_accepted_are_answered() {
    let trouble = Trouble::new("40m", 16 * MIB, |layout| {
        layout.set_gateway("throttle", "at_once", 2);
        layout.set_gateway("throttle", "every", "4s");
    });
    let mut drafts: Vec<Draft> = (0..4).map(|number| help(number, 1000)).collect();
    for draft in &drafts {
        assert_eq!(trouble.send(&[GATEWAY], draft), 250);
    }
    trouble.disk.fill(8 * MIB);
    let refused = help(4, 1000);
    assert_eq!(trouble.send(&[GATEWAY], &refused), 452);
    let automatic = help(99, 1000).with("Auto-Submitted", "auto-replied");
    assert_eq!(
        trouble.send(&[GATEWAY], &automatic),
        452,
        "its entry grows too"
    );
    let mixed = help(5, 1000);
    assert_eq!(trouble.send(&[GATEWAY, BOB], &mixed), 250);
    trouble.site.mailbox(BOB).wait_for_count(1);
    // Two of the four wait for their turn, which comes now.
    trouble.all_answered_once(&drafts);
    assert!(trouble.disk.free() < 16 * MIB, "the trouble is over");
    until("the gateway's copy waits", PATIENCE, || {
        (trouble.waiting() == 1).then_some(())
    });

    trouble.disk.make_room();
    assert_eq!(trouble.send(&[GATEWAY], &refused), 250);
    trouble.site.postfix.deliver_all();
    drafts.extend([refused, mixed]);
    trouble.all_answered_once(&drafts);
    trouble.log_has(drafts.len());
    println!(
        "{} requests answered once each, 4 of them at the reserve",
        drafts.len()
    );
}

/// SQLite never makes the file smaller: what is free in it must count.
#[test]
fn a_spool_that_filled_the_disk_itself_is_taken_from_again_once_it_is_done() {
    const BYTES: usize = 1_200_000;
    let trouble = Trouble::new("32m", 12 * MIB, |layout| {
        layout.set_gateway("throttle", "at_once", 1);
        layout.set_gateway("throttle", "every", "1s");
        layout.set_gateway("throttle", "block_for", "1s");
    });
    let mut drafts = Vec::new();
    loop {
        let draft = help(drafts.len(), BYTES);
        match trouble.send(&[GATEWAY], &draft) {
            250 => drafts.push(draft),
            452 => break,
            code => panic!("{code}"),
        }
        assert!(drafts.len() < 100, "no end");
    }
    let filled = drafts.len();
    assert!(filled > 5, "{filled} only");
    trouble.all_answered_once(&drafts);
    // The write-ahead log may have become shorter since.
    trouble.disk.fill(11 * MIB);
    let free = trouble.disk.free();
    assert!(free < 12 * MIB, "{free} bytes are free");
    let more = help(drafts.len(), BYTES);
    assert_eq!(trouble.send(&[GATEWAY], &more), 250);
    drafts.push(more);
    trouble.all_answered_once(&drafts);
    trouble.log_has(drafts.len());
    println!(
        "{filled} requests filled the disk; when they were done, one more with {free} bytes free"
    );
}
