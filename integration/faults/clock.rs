//! A clock that is set back by an hour, or forward by a day: nothing that was
//! put off, leased or blocked waits for the difference, and nothing ends for good
//! by a clock that jumps. The gateway runs in the test's own process, by a clock of
//! the test's, beside a real Postfix.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use kms_gateway::{
    gateway::Service,
    time::{Clock, SystemClock},
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::{ALICE, BOB, CAROL, Draft, GATEWAY, Layout, Mail, Site, until};

/// The worker looks for work each 5 s at least.
const PATIENCE: Duration = Duration::from_secs(15);

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The machine's clock, and what it is wrong by.
#[derive(Default)]
struct WrongClock {
    by: Mutex<SignedDuration>,
    /// How much longer the machine seems to have run than it has.
    ran: Mutex<SignedDuration>,
    is_broken: AtomicBool,
}

impl WrongClock {
    fn set_by(&self, time: SignedDuration) {
        *self.by.lock().expect("no panic") += time;
    }

    /// Time passes.
    fn pass(&self, time: SignedDuration) {
        self.set_by(time);
        *self.ran.lock().expect("no panic") += time;
    }

    /// The machine was off for this time, and has just been started.
    fn was_off(&self, time: SignedDuration) {
        self.set_by(time);
        *self.ran.lock().expect("no panic") = SignedDuration::from_secs(9) - SystemClock.uptime();
    }
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        assert!(!self.is_broken.load(Ordering::Relaxed), "a broken clock");
        Timestamp::now() + *self.by.lock().expect("no panic")
    }

    fn uptime(&self) -> SignedDuration {
        SystemClock.uptime() + *self.ran.lock().expect("no panic")
    }
}

/// A gateway in this process.
struct Running {
    runtime: Runtime,
    service: Service,
}

impl Running {
    fn start(layout: &Layout, clock: &Arc<WrongClock>) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let service = runtime
            .block_on(Service::start(&layout.config(), clock.clone()))
            .expect("a gateway");
        Self { runtime, service }
    }

    fn stop(self) {
        self.runtime.block_on(self.service.stop());
    }

    /// Ends in the middle of whatever it does.
    fn crash(self) {
        self.runtime.shutdown_background();
    }
}

/// Two requests of one sender at once, one more each two seconds, and a block
/// for five seconds above five.
fn layout() -> Layout {
    let layout = Layout::new();
    for (key, value) in [("at_once", 2), ("block_above", 5)] {
        layout.set_gateway("throttle", key, value);
    }
    for (key, value) in [("every", "2s"), ("block_for", "5s")] {
        layout.set_gateway("throttle", key, value);
    }
    layout
}

fn send(site: &Site, from: &str, name: &str) {
    let draft = Draft::request(&format!("{{KMS:Help}} {name}"), "").with("From", from);
    let taken = site.smtp().send(from, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

/// Waits for the answer; says how long it took.
fn answered(site: &Site, from: &str, name: &str) -> Duration {
    let begin = Instant::now();
    let subject = format!("Auto: {{KMS:Help}} {name}");
    let is_answer = |mail: &Mail| {
        mail.header("Subject").as_deref() == Some(&subject) && mail.result()[0] == "Success"
    };
    until(&subject, PATIENCE, || {
        site.mailbox(from)
            .mails()
            .iter()
            .any(is_answer)
            .then_some(())
    });
    begin.elapsed()
}

fn audit(site: &Site) -> Vec<Value> {
    let json = site.layout.gateway(&["audit", "list", "--json"]);
    serde_json::from_str(&json).expect("an array")
}

/// In the order in which it was written, whatever the clock said, and whole.
fn assert_audit_in_order(site: &Site) {
    site.layout.gateway(&["audit", "verify"]);
    let entries = audit(site);
    let stage = |event: &str| {
        ["accepted", "completed", "delivered"]
            .iter()
            .position(|own| own == &event)
    };
    let mut seen: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for entry in &entries {
        let event = entry["event"].as_str().expect("an event");
        let (Some(stage), Some(id)) = (stage(event), entry["request_id"].as_str()) else {
            continue;
        };
        let next = seen.entry(id.to_owned()).or_default();
        // A notice is delivered before the request it is about is completed.
        if event == "delivered" && *next < 2 {
            continue;
        }
        assert_eq!(stage, *next, "{event} of {id}: {entries:#?}");
        *next += 1;
    }
    assert!(seen.values().all(|next| *next == 3), "{seen:?}");
}

#[test]
fn nobody_waits_for_a_clock_that_was_set_back() {
    let site = layout().start_with(None);
    let clock = Arc::new(WrongClock::default());
    let gateway = Running::start(&site.layout, &clock);
    send(&site, ALICE, "before");
    answered(&site, ALICE, "before");
    clock.set_by(-HOUR);
    send(&site, ALICE, "after");
    let waited = answered(&site, ALICE, "after");
    println!("an hour back: answered within {waited:?}");

    // Over the allowance, so that it waits, and then is blocked; the clock is
    // set back each time.
    for number in 0..2 {
        send(&site, ALICE, &format!("over {number}"));
    }
    clock.set_by(-HOUR);
    for number in 0..2 {
        let waited = answered(&site, ALICE, &format!("over {number}"));
        println!("put off, an hour back: answered within {waited:?}");
    }
    for number in 0..8 {
        send(&site, BOB, &format!("flood {number}"));
    }
    let blocked = || site.layout.audited("blocked");
    // The one that led to the block was put off.
    assert!(blocked() > 1, "no block");
    clock.set_by(-HOUR);
    let begin = Instant::now();
    let mut number = 0;
    until("the end of the block", PATIENCE, || {
        let ignored = blocked();
        number += 1;
        send(&site, BOB, &format!("asks again {number}"));
        (blocked() == ignored).then_some(())
    });
    println!("blocked, an hour back: free after {:?}", begin.elapsed());
    answered(&site, BOB, &format!("asks again {number}"));

    clock.set_by(DAY);
    send(&site, ALICE, "a day later");
    let waited = answered(&site, ALICE, "a day later");
    println!("a day forward: answered within {waited:?}");
    gateway.stop();
    assert_audit_in_order(&site);
}

#[test]
fn a_lease_of_the_dead_does_not_last_longer() {
    let layout = layout();
    layout.set_gateway("worker", "lease", "10min");
    let hung = TcpListener::bind(layout.port(18027)).expect("a port");
    let injection = layout.port(18025).to_string();
    layout.set_gateway("reply", "smtp", layout.port(18027).to_string());
    let site = layout.start_with(None);
    let clock = Arc::new(WrongClock::default());
    let gateway = Running::start(&site.layout, &clock);
    send(&site, ALICE, "leased");
    // The reply is leased, and on its way to somebody who says nothing.
    let _connection = hung.accept().expect("the worker");
    gateway.crash();

    site.layout.set_gateway("reply", "smtp", injection);
    clock.set_by(-HOUR);
    let gateway = Running::start(&site.layout, &clock);
    let waited = answered(&site, ALICE, "leased");
    println!("leased for 10 min by the dead, an hour back: answered within {waited:?}");
    gateway.stop();
    assert_audit_in_order(&site);
}

/// A fault that nobody foresaw: the worker panics in the middle of a step.
#[test]
fn without_its_worker_the_gateway_does_not_go_on() {
    let site = layout().start_with(None);
    let clock = Arc::new(WrongClock::default());
    let mut gateway = Running::start(&site.layout, &clock);
    send(&site, ALICE, "before the fault");
    answered(&site, ALICE, "before the fault");
    // Alice may have the reply before the worker notes that it is delivered.
    until("the delivery is noted", PATIENCE, || {
        (site.layout.audited("delivered") == 1).then_some(())
    });
    clock.is_broken.store(true, Ordering::Relaxed);
    let failure = gateway.runtime.block_on(gateway.service.failure());
    let failure = failure.to_string();
    assert!(failure.contains("the worker ended by itself"), "{failure}");
    assert!(failure.contains("panicked"), "{failure}");
    clock.is_broken.store(false, Ordering::Relaxed);
    gateway.stop();
    assert_audit_in_order(&site);
}

/// How often somebody came to a port that is down, in that he hangs up at once.
fn down(layout: &Layout) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(layout.port(18027)).expect("a port");
    layout.set_gateway("reply", "smtp", layout.port(18027).to_string());
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    attempts
}

fn wait_for_attempts(attempts: &AtomicUsize, more: usize) {
    let enough = attempts.load(Ordering::Relaxed) + more;
    until("attempts", Duration::from_secs(60), || {
        (attempts.load(Ordering::Relaxed) >= enough).then_some(())
    });
}

fn events(site: &Site, event: &str) -> usize {
    let of_event = |entry: &&Value| entry["event"] == event;
    audit(site).iter().filter(of_event).count()
}

#[test]
fn a_clock_that_jumps_gives_no_reply_up() {
    for jump in [6 * DAY, -10 * DAY] {
        let layout = layout();
        layout.set_gateway("worker", "first_retry", "1s");
        layout.set_gateway("worker", "longest_retry", "1s");
        let injection = layout.port(18025).to_string();
        let attempts = down(&layout);
        let site = layout.start_with(None);
        let clock = Arc::new(WrongClock::default());
        let gateway = Running::start(&site.layout, &clock);
        send(&site, ALICE, "before");
        wait_for_attempts(&attempts, 1);
        clock.set_by(jump);
        send(&site, BOB, "meanwhile");
        wait_for_attempts(&attempts, 2);
        clock.set_by(-jump);
        send(&site, CAROL, "after");
        wait_for_attempts(&attempts, 2);
        gateway.stop();
        assert_eq!(events(&site, "undeliverable"), 0, "{jump}");

        site.layout.set_gateway("reply", "smtp", injection);
        let gateway = Running::start(&site.layout, &clock);
        for (person, name) in [(ALICE, "before"), (BOB, "meanwhile"), (CAROL, "after")] {
            answered(&site, person, name);
        }
        gateway.stop();
    }
}

#[test]
fn a_start_that_is_ahead_cuts_nothing_until_the_clock_is_believed() {
    let site = layout().start_with(None);
    let clock = Arc::new(WrongClock::default());
    let gateway = Running::start(&site.layout, &clock);
    send(&site, ALICE, "before");
    answered(&site, ALICE, "before");
    gateway.stop();
    let before = audit(&site).len();

    // Set while the machine runs, and set right; then after a time off.
    clock.set_by(402 * DAY);
    looked_after(&site, &clock);
    clock.set_by(-402 * DAY);
    clock.was_off(402 * DAY);
    looked_after(&site, &clock);
    assert_eq!(events(&site, "pruned"), 0);
    assert!(audit(&site).len() >= before);

    clock.pass(SignedDuration::from_hours(6));
    let gateway = Running::start(&site.layout, &clock);
    until("old entries cut", Duration::from_secs(60), || {
        (events(&site, "pruned") > 0).then_some(())
    });
    gateway.stop();
    site.layout.gateway(&["audit", "verify"]);
}

/// Starts a gateway, and waits until it has done once all that is done at times.
fn looked_after(site: &Site, clock: &Arc<WrongClock>) {
    // The gateway keeps a record as soon as it runs, and the next one minutes later.
    let begun = clock.now().as_microsecond();
    let gateway = Running::start(&site.layout, clock);
    let database = site.layout.directory().join("gateway/gateway.sqlite3");
    let kept = || {
        let mut sqlite = std::process::Command::new("sqlite3");
        sqlite
            .arg("-readonly")
            .arg(&database)
            .arg("SELECT now FROM clock");
        let printed = crate::harness::run(&mut sqlite, b"");
        printed.trim().parse::<i64>().unwrap_or_default()
    };
    until("the clock's record kept", Duration::from_secs(60), || {
        (kept() >= begun).then_some(())
    });
    gateway.stop();
}

#[test]
fn eight_days_ahead_and_back_a_message_is_answered_once() {
    let site = layout().start_with(None);
    let clock = Arc::new(WrongClock::default());
    let gateway = Running::start(&site.layout, &clock);
    let draft = Draft::request("{KMS:Help} once", "").with("Message-ID", "<once@vendor.example>");
    let send_it = || {
        let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    };
    send_it();
    answered(&site, ALICE, "once");
    clock.set_by(8 * DAY);
    send(&site, BOB, "another");
    answered(&site, BOB, "another");
    send_it();
    clock.set_by(-8 * DAY);
    send_it();
    gateway.stop();
    assert_eq!(events(&site, "duplicate"), 2);
    assert_eq!(events(&site, "accepted"), 2);
}
