//! Metrics and probes. After known traffic every counter has its exact value. The
//! pages for probes say how the gateway is.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind, Read, Write},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use kms_gateway::{mail::ErrorCode, policy::RULES, services::SERVICES};
use rustix::process::Signal;

use crate::harness::{
    ALICE, BOB, CAROL, Draft, GATEWAY, House, Layout, Lock, Pages, Rbldnsd, Site, SoftwareModule,
    WELL, until,
};

/// A loaded machine may need this long; what is measured from time to time is
/// measured each 15 s.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// 192.0.2.0/24 is listed.
const LISTED: &str = "127.0.0.2\n192.0.2.0/24\n";

fn help(from: &str, subject: &str) -> Draft {
    Draft::request(subject, "please\n").with("From", from)
}

fn send(site: &Site, from: &str, to: &[&str], draft: &Draft) {
    let accepted = site.smtp().send(from, to, &draft.to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");
}

fn expected(counts: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let counts = counts.iter();
    counts
        .map(|(labels, count)| ((*labels).to_owned(), *count))
        .collect()
}

/// Waits until the counter has these values and no other.
#[track_caller]
fn counts(pages: Pages, name: &str, counted: &[(&str, f64)]) {
    let expected = expected(counted);
    until(&format!("{name} {expected:?}"), PATIENCE, || {
        (pages.metrics().counted(name) == expected).then_some(())
    });
}

pub fn site_with_blocklist() -> (Site, Pages, Rbldnsd) {
    let layout = Layout::new();
    let pages = Pages::configure(&layout);
    layout.set_gateway("throttle", "at_once", 2);
    layout.set_gateway("throttle", "every", "1h");
    layout.set_gateway("dnsbl", "zones", vec![toml::Value::from("bl.example")]);
    layout.set_gateway("dnsbl", "resolver", layout.port(5300).to_string());
    layout.allow_xclient();
    let zones = [("bl.example", "ip4trie", LISTED), WELL_ZONE];
    let server = Rbldnsd::start(layout.directory(), layout.port(5300), 3600, &zones);
    (layout.start(), pages, server)
}

const WELL_ZONE: (&str, &str, &str) = ("well.example", "ip4trie", WELL);

#[test]
fn after_known_traffic_every_counter_has_its_value() {
    let (site, pages, _server) = site_with_blocklist();
    for _ in 0..3 {
        send(&site, ALICE, &[BOB], &help(ALICE, "lunch").with("To", BOB));
    }
    let first = help(ALICE, "{KMS:Help} 1");
    send(&site, ALICE, &[GATEWAY], &first);
    send(&site, ALICE, &[GATEWAY], &first);
    send(&site, ALICE, &[GATEWAY], &help(ALICE, "{KMS:Evil} 2"));
    // The third of an allowance of two.
    send(&site, ALICE, &[GATEWAY], &help(ALICE, "{KMS:Help} 3"));
    send(&site, CAROL, &[GATEWAY, BOB], &help(CAROL, "hello"));
    let mut listed = site.smtp();
    listed.speak_for("ADDR=192.0.2.9");
    let refused = listed.send(CAROL, &[GATEWAY], &help(CAROL, "{KMS:Help}").to_bytes());
    assert_eq!(refused.code, 554, "{refused:?}");
    let mut unlisted = site.smtp();
    unlisted.speak_for("ADDR=198.51.100.7");
    let accepted = unlisted.send(CAROL, &[GATEWAY], &help(CAROL, "{KMS:Help} 4").to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");

    counts(
        pages,
        "kms_gateway_messages_total",
        &[
            ("not-for-gateway pass", 3.0),
            ("none request", 3.0),
            ("none duplicate", 1.0),
            ("flood defer", 1.0),
            ("subject ignore", 1.0),
            ("dnsbl reject", 1.0),
        ],
    );
    counts(
        pages,
        "kms_gateway_requests_finished_total",
        &[
            ("Success {KMS:Help}", 2.0),
            ("EUnknownService unknown", 1.0),
        ],
    );
    counts(pages, "kms_gateway_notices_total", &[("Deferred", 1.0)]);
    counts(
        pages,
        "kms_gateway_delivery_attempts_total",
        &[("delivered", 4.0)],
    );
    counts(
        pages,
        "kms_gateway_dnsbl_lookups_total",
        &[("listed bl.example", 1.0), ("not_listed bl.example", 1.0)],
    );
    counts(
        pages,
        "kms_gateway_reply_latency_seconds_count",
        &[("", 4.0)],
    );
    counts(
        pages,
        "kms_gateway_dnsbl_lookup_seconds_count",
        &[("bl.example", 2.0)],
    );
    counts(pages, "kms_gateway_spool_requests", &[("put_off", 1.0)]);
    counts(pages, "kms_gateway_throttled_senders", &[("waiting", 1.0)]);
    for none in [
        "kms_gateway_messages_not_stored_total",
        "kms_gateway_panics_total",
        "kms_gateway_reloads_total",
        "kms_gateway_store_commit_failures_total",
        "kms_gateway_spool_replies",
    ] {
        counts(pages, none, &[]);
    }
    let metrics = pages.metrics();
    assert!(metrics.value("kms_gateway_spool_oldest_age_seconds") > Some(0.0));
    let commits = metrics.value("kms_gateway_store_commit_seconds_count");
    assert_eq!(
        commits,
        metrics.value("kms_gateway_store_commit_changes_count")
    );
    assert!(commits >= Some(10.0), "{commits:?}");
    let entries = metrics.value("kms_gateway_audit_sequence");
    assert!(entries >= Some(10.0), "{entries:?}");
    assert!(!metrics.text().contains("Evil"), "a sender chose a label");
    assert!(!metrics.text().contains("vendor.example"), "an address");
}

#[test]
fn what_was_never_counted_is_there_as_0() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let gateway = layout.start_gateway();
    let metrics = pages.metrics();
    let rules = metrics.values_of("kms_gateway_messages_total", "rule");
    for rule in RULES {
        assert!(rules.contains(rule.name.as_str()), "{}", rule.name);
    }
    let finished = metrics.series("kms_gateway_requests_finished_total");
    for service in &SERVICES {
        let results = finished.iter().filter(|(labels, value)| {
            assert_eq!(*value, 0.0);
            labels["service"] == service.code.as_str()
        });
        assert_eq!(results.count(), ErrorCode::ALL.len() + 1);
    }
    assert!(gateway.stop().success());
}

#[test]
fn sessions_and_reloads_are_counted() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let house = House::of(layout);
    let sessions = [house.session(), house.session()];
    let open = "kms_gateway_milter_sessions";
    counts(pages, open, &[("", 2.0)]);
    drop(sessions);
    counts(pages, open, &[]);

    let path = house.layout.config();
    let good = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, good.replace("keep_bcc", "keep_bbc")).expect("the configuration");
    house.gateway.signal(Signal::HUP);
    counts(pages, "kms_gateway_reloads_total", &[("bad", 1.0)]);
    counts(pages, "kms_gateway_last_reload_successful", &[]);
    until("probes hear of it", PATIENCE, || {
        let ready = pages.get("/readyz");
        assert_eq!(ready.status, 200, "{ready:?}");
        ready.body.contains("warning: the old").then_some(())
    });
    fs::write(&path, good).expect("the configuration");
    house.gateway.signal(Signal::HUP);
    let both = [("bad", 1.0), ("good", 1.0)];
    counts(pages, "kms_gateway_reloads_total", &both);
    counts(pages, "kms_gateway_last_reload_successful", &[("", 1.0)]);
}

/// Waits for this status of a page, and gives its lines.
fn wait_for(pages: Pages, path: &str, status: u16) -> String {
    until(&format!("{status} at {path}"), PATIENCE, || {
        let page = pages.get(path);
        (page.status == status).then_some(page.body)
    })
}

#[test]
fn probes_are_told_of_a_locked_store_and_of_the_end() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let house = House::of(layout);
    // Nobody takes its replies, which is a warning.
    let is_ready = || wait_for(pages, "/readyz", 200).starts_with("ready\n");
    assert!(is_ready());
    let lock = Lock::hold(&house.layout);
    let reason = wait_for(pages, "/readyz", 503);
    assert!(reason.contains("store has not answered"), "{reason}");
    let reason = until("the store's own words", PATIENCE, || {
        let page = pages.get("/readyz");
        page.body.contains("gateway.sqlite3").then_some(page.body)
    });
    assert!(reason.contains("keeps the database locked"), "{reason}");
    assert_eq!(pages.get("/healthz").body, "alive\n");
    drop(lock);
    assert!(is_ready());
    let failures = pages.metrics();
    let failures = failures.value("kms_gateway_store_commit_failures_total");
    assert!(failures > Some(0.0), "{failures:?}");

    let mut session = house.session_at_content();
    house.gateway.signal(Signal::TERM);
    let reason = wait_for(pages, "/readyz", 503);
    assert_eq!(reason, "stopping: no new session is taken\n");
    assert_eq!(pages.get("/healthz").status, 200);
    session.content([("Subject", "{KMS:Help}")], b"please\r\n");
    session.end();
    assert!(house.gateway.wait_for_end().success());
}

#[test]
fn a_full_spool_takes_no_request_and_is_not_ready() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    layout.set_gateway("store", "max_requests", 1);
    // Nobody takes replies there.
    layout.set_gateway("reply", "smtp", layout.port(10099).to_string());
    let house = House::of(layout);
    let reason = until("a reply takes all the room", PATIENCE, || {
        let page = pages.get("/readyz");
        page.body.contains("full").then_some(page.body)
    });
    assert!(reason.contains("1 of 1 requests"), "{reason}");
    assert_eq!(pages.get("/readyz").status, 503);
    assert_eq!(pages.get("/healthz").status, 200);
    let tried = until("an attempt", PATIENCE, || {
        let attempts = pages.metrics();
        attempts
            .counted("kms_gateway_delivery_attempts_total")
            .remove("no_port")
    });
    assert!(tried >= 1.0);
    let answer = crate::harness::ask(&mut house.session());
    assert_eq!(answer.verdict, 'y', "{answer:?}");
    let refused = "kms_gateway_messages_not_stored_total";
    counts(pages, refused, &[("no_room", 1.0)]);
}

#[test]
fn a_clock_in_doubt_is_an_alarm_everywhere() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let house = House::of(layout);
    assert_eq!(house.layout.try_gateway(&["check"]).code, Some(0));
    assert!(house.gateway.stop().success());
    // The clock was two and a half hours ahead, and was set back while the gateway was down.
    house.layout.sqlite(
        "UPDATE clock SET line = line + 9000e6, now = now + 9000e6;
         UPDATE clock_stretches SET begun = begun + 9000e6, ended = ended + 9000e6;",
    );
    let checked = house.layout.try_gateway(&["check"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let alarm = "the clock is 2 h behind the time that has surely passed";
    assert!(checked.stdout.contains(alarm), "{checked:?}");

    let house = House::of(house.layout);
    house.gateway.wait_for_log(alarm);
    let page = wait_for(pages, "/readyz", 200);
    assert!(page.contains(alarm), "{page}");
    let behind = pages.metrics().value("kms_gateway_clock_behind_seconds");
    assert!(
        (8990.0..9060.0).contains(&behind.expect("a value")),
        "{behind:?}"
    );
}

/// An alteration of a row by an administrator's tool, and its undoing.
const ALTERATIONS: [(&str, &str); 4] = [
    (
        "UPDATE kmc_keys SET expiry = '20980101T000000Z'",
        "UPDATE kmc_keys SET expiry = '20990101T000000Z'",
    ),
    (
        "UPDATE vending_keys SET krn = 9 WHERE krn = 1",
        "UPDATE vending_keys SET krn = 1 WHERE krn = 9",
    ),
    (
        "INSERT INTO module_sgcs SELECT smid, '123456' FROM modules",
        "DELETE FROM module_sgcs WHERE sgc = '123456'",
    ),
    // Nothing that this program writes.
    (
        "UPDATE modules SET hardware = 'no hardware'",
        "UPDATE modules SET hardware = 'SOFT-1'",
    ),
];

/// Each alteration has a site of its own, side by side: rows are looked at each 15 s.
#[test]
fn an_altered_row_is_an_alarm_everywhere() {
    thread::scope(|scope| {
        for (alter, restore) in ALTERATIONS {
            scope.spawn(move || an_alteration_is_an_alarm(alter, restore));
        }
    });
}

fn an_alteration_is_an_alarm(alter: &str, restore: &str) {
    let layout = Layout::new();
    let _module = SoftwareModule::new(&layout, "M1");
    let pages = Pages::configure(&layout);
    let gateway = layout.start_gateway();
    let altered = || pages.metrics().value("kms_gateway_sealed_rows_altered");
    let every_row_opens = || {
        until("every row opens", PATIENCE, || {
            (altered() == Some(0.0)).then_some(())
        });
        assert_eq!(layout.try_gateway(&["check"]).code, Some(0));
        assert_eq!(layout.try_gateway(&["audit", "verify"]).code, Some(0));
    };
    every_row_opens();
    layout.sqlite(alter);
    let alarm = "a sealed row was altered: ";
    for command in [["check"].as_slice(), &["audit", "verify"]] {
        let ended = layout.try_gateway(command);
        assert_eq!(ended.code, Some(1), "{alter}: {ended:?}");
        assert!(ended.stdout.contains(alarm), "{alter}: {ended:?}");
    }
    let json = layout.try_gateway(&["audit", "verify", "--json"]);
    assert_eq!(json.code, Some(1), "{json:?}");
    assert!(json.stdout.contains(alarm), "{json:?}");
    until("the alarm", PATIENCE, || {
        (altered() == Some(1.0)).then_some(())
    });
    let ready = until("a warning for probes", PATIENCE, || {
        Some(pages.get("/readyz")).filter(|page| page.body.contains(alarm))
    });
    assert_eq!(ready.status, 200, "requests are taken: {ready:?}");
    layout.sqlite(restore);
    every_row_opens();
    let log = gateway.wait_for_log("every sealed row opens again");
    let is_alarm = |line: &&str| line.contains("ERROR") && line.contains(alarm);
    assert_eq!(log.lines().filter(is_alarm).count(), 1, "{log}");
    assert!(gateway.stop().success());

    // At the start too.
    layout.sqlite(alter);
    let gateway = layout.start_gateway();
    until("the alarm", PATIENCE, || {
        (altered() == Some(1.0)).then_some(())
    });
    assert!(gateway.stop().success());
}

#[test]
fn nobody_is_kept_out_by_bad_clients() {
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let gateway = layout.start_gateway();
    assert_eq!(pages.get("/").status, 404);
    assert_eq!(pages.get("/metrics/../healthz").status, 404);
    let refused = pages.ask("POST", "/metrics");
    assert_eq!(refused.status, 405);
    assert!(refused.header.contains("allow: GET, HEAD"), "{refused:?}");
    let head = pages.ask("HEAD", "/healthz");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let long = format!("/{}", "x".repeat(100_000));
    let mut stream = pages.connect();
    let request = format!("GET {long} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // It hangs up in the midst of it.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "taken");

    // None that says nothing stays for long.
    let mut silent = pages.connect();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).expect("it hangs up");
    assert!(gateway.stop().success());
}

/// A client that sends a byte now and then, or nothing, and comes again when it
/// is sent away. How often was it?
fn be_slow(pages: Pages, sends: bool, is_over: &AtomicBool) -> usize {
    const PAUSE: Duration = Duration::from_millis(500);
    let request = b"GET /healthz HTTP/1.1\r\nX: ";
    let mut sent_away = 0;
    let mut stream = pages.connect();
    stream.set_nonblocking(true).expect("it");
    let mut rest = request.iter().chain([b'x'].iter().cycle());
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(PAUSE);
        let is_written = match rest.next() {
            Some(byte) if sends => stream.write_all(&[*byte]).is_ok(),
            _ => true,
        };
        let nothing_to_read = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
        let is_open = stream
            .read(&mut [0; 100])
            .is_err_and(|error| nothing_to_read(&error));
        if !is_written || !is_open {
            sent_away += 1;
            stream = pages.connect();
            stream.set_nonblocking(true).expect("it");
        }
    }
    sent_away
}

/// Says that it is over when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn slow_clients_keep_no_probe_waiting() {
    const SLOW: usize = 200;
    const ROUNDS: usize = 60;
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let gateway = layout.start_gateway();
    wait_for(pages, "/readyz", 200);
    let is_over = AtomicBool::new(false);
    let sent_away: usize = thread::scope(|scope| {
        let is_over = &is_over;
        // They end although the test may fail.
        let end = End(is_over);
        let slow: Vec<_> = (0..SLOW)
            .map(|number| scope.spawn(move || be_slow(pages, number % 2 == 0, is_over)))
            .collect();
        for _ in 0..ROUNDS {
            for path in ["/healthz", "/readyz", "/metrics"] {
                assert_eq!(pages.get(path).status, 200, "{path}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        drop(end);
        let ends = slow.into_iter().map(|slow| slow.join().expect("it"));
        ends.sum()
    });
    println!(
        "{} answers beside {SLOW} slow clients, sent away {sent_away} times",
        3 * ROUNDS
    );
    assert!(sent_away > 0, "none was slow");
    assert!(gateway.stop().success());
}
