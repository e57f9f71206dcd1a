//! A log that can't be written, as its file system is full, or its reader stalls
//! or is gone: no mail, no probe and no signal waits for it, and what is missing
//! is counted.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{
    ALICE, BOB, Draft, GATEWAY, Gateway, House, Layout, Pages, Site, SmallDisk, ask, run, taken,
    until,
};

/// A loaded machine may need this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The line that stands in the log for missing lines.
const MISSING: &str =
    "WARN  log lines are missing here: standard error was full or not read lines=";

/// Starts the gateway with its standard error at another place.
fn start_with_log_at(layout: &Layout, place: &Path) -> Gateway {
    let script = "place=$1; shift; exec \"$@\" 2>>\"$place\"";
    let place = place.to_str().expect("a path in UTF-8");
    layout.start_gateway_by(&["sh", "-c", script, "sh", place])
}

/// How many lines are lost until now.
fn lost(pages: Pages) -> u64 {
    let metrics = pages.metrics();
    let lost = metrics.value("kms_gateway_log_lines_lost_total");
    // Few enough to be whole.
    lost.expect("it is there from the start") as u64
}

/// How many lines are missing by the word of these.
fn missing<'a>(log: impl IntoIterator<Item = &'a str>) -> u64 {
    let lines = log.into_iter();
    let counts = lines.filter_map(|line| line.split_once(MISSING));
    let counts = counts.map(|(_, count)| count.parse::<u64>().expect("a number"));
    counts.sum()
}

fn warns(pages: Pages) -> bool {
    let ready = pages.get("/readyz");
    assert_eq!(ready.status, 200, "{ready:?}");
    ready.body.contains("warning: the log can't be written")
}

fn wait_for_warning(pages: Pages, wanted: bool) {
    let what = format!("/readyz warns of the log: {wanted}");
    until(&what, PATIENCE, || (warns(pages) == wanted).then_some(()));
}

/// Each line whole, as it would be without trouble.
fn assert_whole(lines: &[String]) {
    for line in lines {
        let is_whole = line.starts_with("20") && line.contains("Z ");
        assert!(is_whole, "{line}");
    }
}

/// A pipe with a name, to be the log.
struct Pipe(PathBuf);

impl Pipe {
    fn new(layout: &Layout) -> Self {
        let path = layout.directory().join("gateway/log.pipe");
        run(Command::new("mkfifo").arg(&path), b"");
        Self(path)
    }

    /// Somebody who may read, and does not yet.
    fn reader(&self) -> File {
        // A pipe that is opened for reading alone is opened when a writer comes.
        let both = File::options().read(true).write(true).open(&self.0);
        both.expect("the pipe")
    }
}

/// The lines that a reader gets from now on.
fn lines_of(reader: File) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
        // Until nobody wants more.
        lines.all(|line| sender.send(line).is_ok())
    });
    lines
}

/// Has the gateway log one very long line again and again, until lines are lost
/// that were not before. The configuration is as before afterwards.
fn overfill(layout: &Layout, gateway: &Gateway, pages: Pages) {
    let path = layout.config();
    let good = fs::read_to_string(&path).expect("the configuration");
    let long = format!("{} = 1\n{good}", "x".repeat(60_000));
    fs::write(&path, long).expect("the configuration");
    let before = lost(pages);
    let mut reloads = bad_reloads(pages);
    while lost(pages) == before {
        gateway.signal(Signal::HUP);
        let now = reloads + 1.0;
        until("the reload", PATIENCE, || {
            (bad_reloads(pages) == now).then_some(())
        });
        reloads = now;
        assert!(reloads < 2000.0, "nothing is lost, and all of it waits");
    }
    fs::write(&path, good).expect("the configuration");
    gateway.signal(Signal::HUP);
    until("the good configuration", PATIENCE, || {
        let metrics = pages.metrics();
        let is_good = metrics.value("kms_gateway_last_reload_successful");
        (is_good == Some(1.0)).then_some(())
    });
}

fn bad_reloads(pages: Pages) -> f64 {
    let metrics = pages.metrics();
    let counts = metrics.counted("kms_gateway_reloads_total");
    counts.get("bad").copied().unwrap_or_default()
}

/// A request, and somebody else's mail.
fn send_both(site: &Site, number: usize) {
    let request = Draft::request("{KMS:Help}", "please\n");
    let other = Draft::request("lunch", "at noon?\n").with("To", BOB);
    let mut smtp = site.smtp();
    for (to, draft) in [(GATEWAY, request), (BOB, other)] {
        let taken = smtp.send(ALICE, &[to], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{number}: {taken:?}");
    }
}

#[test]
fn a_reader_that_stalls_holds_up_no_mail_no_probe_and_no_signal() {
    const MESSAGES: usize = 300;
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 1000);
    layout.set_gateway("throttle", "block_above", 2000);
    let pages = Pages::configure(&layout);
    let pipe = Pipe::new(&layout);
    let reader = pipe.reader();
    let gateway = start_with_log_at(&layout, &pipe.0);
    let site = layout.start_with(Some(gateway));
    let gateway = site.gateway.as_ref().expect("it runs");
    for number in 0..MESSAGES {
        send_both(&site, number);
    }
    assert_eq!(pages.get("/healthz").status, 200);
    overfill(&site.layout, gateway, pages);
    send_both(&site, MESSAGES);
    let answer = site.ask(&Draft::request("{KMS:Help} answered", "please\n"));
    assert_eq!(answer.result().first().map(String::as_str), Some("Success"));
    wait_for_warning(pages, true);

    // The reader reads again.
    let lines = lines_of(reader);
    let mut read: Vec<String> = Vec::new();
    until("the log counts all lost lines", PATIENCE, || {
        read.extend(lines.try_iter());
        let missing = missing(read.iter().map(String::as_str));
        (missing == lost(pages)).then_some(())
    });
    wait_for_warning(pages, false);
    assert_whole(&read);
    let judged = read.iter().filter(|line| line.contains(" judged ")).count();
    assert!(judged >= MESSAGES, "{judged} decisions");
}

#[test]
fn a_reader_that_stalls_does_not_keep_it_from_ending() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let pipe = Pipe::new(&layout);
    let stalled = pipe.reader();
    let gateway = start_with_log_at(&layout, &pipe.0);
    overfill(&layout, &gateway, pages);
    assert!(gateway.stop().success());
    drop(stalled);
}

#[test]
fn a_start_that_fails_ends_although_nobody_reads_why() {
    for bad in ["inet:192.0.2.1:8890", "nowhere"] {
        let layout = House::layout();
        layout.set_gateway("milter", "listen", bad);
        assert_fails_in_silence(&layout);
    }
}

fn assert_fails_in_silence(layout: &Layout) {
    let pipe = Pipe::new(layout);
    let stalled = pipe.reader();
    // Not a byte more goes in.
    let script = "exec 2>>\"$1\"; shift; head -c 65536 /dev/zero >&2; exec \"$@\"";
    let mut serve = Command::new("sh");
    serve.args(["-c", script, "sh"]).arg(&pipe.0);
    serve.arg(env!("CARGO_BIN_EXE_kms-gateway"));
    serve.arg("--config").arg(layout.config()).arg("serve");
    let mut child = serve.spawn().expect("it runs");
    let ended = until("its end", PATIENCE, || child.try_wait().expect("its state"));
    assert_eq!(ended.code(), Some(1));
    drop(stalled);
}

#[test]
fn a_reader_that_is_gone_ends_nothing_and_another_is_told() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let pipe = Pipe::new(&layout);
    let first = pipe.reader();
    let gateway = start_with_log_at(&layout, &pipe.0);
    let house = House { gateway, layout };
    until("it is ready", PATIENCE, || {
        (pages.get("/readyz").status == 200).then_some(())
    });
    drop(first);
    for _ in 0..10 {
        assert_eq!(ask(&mut house.session()), taken());
    }
    until("lost lines", PATIENCE, || (lost(pages) >= 10).then_some(()));
    wait_for_warning(pages, true);

    // Earlier lines stay in the pipe.
    let mut lines = lines_of(pipe.reader()).into_iter();
    let line = lines.find(|line| line.contains(MISSING)).expect("a line");
    assert_eq!(missing([line.as_str()]), lost(pages));
    wait_for_warning(pages, false);
    assert!(house.gateway.stop().success());
}

#[test]
fn a_full_device_stops_nothing() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let gateway = start_with_log_at(&layout, Path::new("/dev/full"));
    let house = House { gateway, layout };
    for _ in 0..10 {
        assert_eq!(ask(&mut house.session()), taken());
    }
    until("lost lines", PATIENCE, || (lost(pages) >= 10).then_some(()));
    wait_for_warning(pages, true);
    assert!(house.gateway.stop().success());
}

#[test]
fn a_full_file_system_stops_nothing_and_the_log_goes_on_when_there_is_room() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let directory = TempDir::with_prefix("kms-gateway-").expect("a directory");
    let disk = SmallDisk::mount(directory.path().join("disk"), "256k");
    let log = disk.path().join("serve.log");
    let gateway = start_with_log_at(&layout, &log);
    disk.fill(0);
    let house = House { gateway, layout };
    until("a full file system", PATIENCE, || {
        assert_eq!(ask(&mut house.session()), taken());
        (lost(pages) > 0).then_some(())
    });
    for _ in 0..10 {
        assert_eq!(ask(&mut house.session()), taken());
    }
    wait_for_warning(pages, true);
    disk.make_room();
    wait_for_warning(pages, false);
    assert_eq!(ask(&mut house.session()), taken());
    let before_end = lost(pages);
    assert!(house.gateway.stop().success());
    let log = fs::read_to_string(&log).expect("the log");
    assert_eq!(missing(log.lines()), before_end);
    // A line that was cut off lacks its end, not its beginning.
    let is_no_beginning = |line: &&str| !line.starts_with("20") && *line != "2";
    assert_eq!(log.lines().find(is_no_beginning), None);
    let (_, after) = log.split_once(MISSING).expect("it says so");
    assert!(
        after.contains(" judged ") && after.contains("stopped"),
        "{after}"
    );
}
