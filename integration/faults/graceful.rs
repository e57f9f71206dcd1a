//! The end on SIGTERM: messages on their way are finished, nobody is waited for
//! too long, and nothing is lost: each request is answered once after the next
//! start.

use std::{
    collections::BTreeSet,
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{ALICE, Draft, GATEWAY, Gateway, Layout, Site, Smtp, until};

const PATIENCE: Duration = Duration::from_secs(40);

/// How long messages on their way are waited for.
const DRAIN: Duration = Duration::from_secs(20);

/// The end may take this much longer.
const MARGIN: Duration = Duration::from_secs(4);

fn layout() -> Layout {
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 1000);
    layout.set_gateway("throttle", "block_above", 2000);
    layout
}

fn help(name: &str) -> Draft {
    Draft::request(&format!("{{KMS:Help}} {name}"), "please\n")
}

/// A session with a message of which all but the content is said.
fn at_content(site: &Site) -> Smtp {
    let mut smtp = site.smtp();
    assert_eq!(smtp.command(&format!("MAIL FROM:<{ALICE}>")).code, 250);
    assert_eq!(smtp.command(&format!("RCPT TO:<{GATEWAY}>")).code, 250);
    assert_eq!(smtp.command("DATA").code, 354);
    smtp
}

/// Nobody gets a new session any more.
fn wait_until_closed(site: &Site) {
    until("the gateway takes no new session", PATIENCE, || {
        TcpStream::connect(site.layout.port(8890))
            .is_err()
            .then_some(())
    });
}

/// Waits for the end of a gateway that got SIGTERM, and returns how long it took.
fn time_to_end(gateway: Gateway) -> Duration {
    let begin = Instant::now();
    assert!(gateway.wait_for_end().success());
    begin.elapsed()
}

/// Starts the gateway once more, and sees that these requests are answered,
/// each once.
fn all_are_answered(site: &mut Site, names: &[String]) {
    site.gateway = Some(site.layout.start_gateway());
    site.postfix.deliver_all();
    site.mailbox(ALICE).wait_for_count(names.len());
    assert!(site.gateway.take().expect("it runs").stop().success());
    until("Postfix's queue is empty", PATIENCE, || {
        site.postfix.queue().is_empty().then_some(())
    });
    let replies = site.mailbox(ALICE).mails();
    let subjects: BTreeSet<String> = replies
        .iter()
        .filter_map(|mail| mail.header("Subject"))
        .collect();
    let expected = names
        .iter()
        .map(|name| format!("Auto: {{KMS:Help}} {name}"));
    assert_eq!(subjects, expected.collect());
    assert_eq!(replies.len(), names.len(), "an answer came twice");
    assert_eq!(events(site, "completed"), names.len());
}

/// How many entries of this event the audit log has.
fn events(site: &Site, event: &str) -> usize {
    let json = site.layout.gateway(&["audit", "list", "--json"]);
    let entries: Vec<Value> = serde_json::from_str(&json).expect("an array");
    entries
        .iter()
        .filter(|entry| entry["event"] == event)
        .count()
}

#[test]
fn a_message_on_its_way_is_taken() {
    let mut site = layout().start();
    let mut smtp = at_content(&site);
    let gateway = site.gateway.take().expect("it runs");
    gateway.signal(Signal::TERM);
    wait_until_closed(&site);
    let taken = smtp.content(&help("on its way").to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    let time = time_to_end(gateway);
    assert!(time < MARGIN, "{time:?}");
    // Taken by the gateway, that is: Postfix has nothing of it.
    assert_eq!(events(&site, "accepted"), 1);
    assert!(site.postfix.queue().is_empty());
    all_are_answered(&mut site, &["on its way".to_owned()]);
}

#[test]
fn who_hangs_in_data_is_waited_for_20_s() {
    let mut site = layout().start();
    site.gateway_dies = true;
    let mut smtp = at_content(&site);
    let gateway = site.gateway.take().expect("it runs");
    gateway.signal(Signal::TERM);
    let time = time_to_end(gateway);
    println!(
        "a client hung in DATA: the end took {:.1} s",
        time.as_secs_f32()
    );
    assert!(time > DRAIN - MARGIN && time < DRAIN + MARGIN, "{time:?}");
    let taken = smtp.content(&help("too late").to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    all_are_answered(&mut site, &["too late".to_owned()]);
}

#[test]
fn a_second_sigterm_waits_for_no_client() {
    let mut site = layout().start();
    site.gateway_dies = true;
    let mut smtp = at_content(&site);
    let gateway = site.gateway.take().expect("it runs");
    gateway.signal(Signal::TERM);
    wait_until_closed(&site);
    gateway.signal(Signal::TERM);
    let time = time_to_end(gateway);
    println!("asked twice: the end took {:.1} s", time.as_secs_f32());
    assert!(time < MARGIN, "{time:?}");
    let taken = smtp.content(&help("asked twice").to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    all_are_answered(&mut site, &["asked twice".to_owned()]);
}

#[test]
fn under_load_an_end_is_quick_and_loses_nothing() {
    const SESSIONS: usize = 4;
    const REQUESTS: usize = 120;
    const ENDS: usize = 4;
    let mut site = layout().start();
    site.gateway_dies = true;
    let names: Vec<String> = (0..REQUESTS).map(|number| number.to_string()).collect();
    let (sent, allowed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let port = site.layout.port(2525);
    let mut gateway = site.gateway.take();
    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        for part in names.chunks(REQUESTS / SESSIONS) {
            let (sent, allowed) = (&sent, &allowed);
            scope.spawn(move || {
                let mut smtp = Smtp::connect(port);
                for name in part {
                    until("a gateway to be ended", PATIENCE, || {
                        let has_time =
                            sent.load(Ordering::Relaxed) < allowed.load(Ordering::Relaxed);
                        has_time.then_some(())
                    });
                    let taken = smtp.send(ALICE, &[GATEWAY], &help(name).to_bytes());
                    assert_eq!(taken.code, 250, "{taken:?}");
                    sent.fetch_add(1, Ordering::Relaxed);
                    // A session that lost its gateway has none any more.
                    if sent.load(Ordering::Relaxed) % 5 == 0 {
                        smtp = Smtp::connect(port);
                    }
                }
            });
        }
        for end in 1..=ENDS {
            let until_now = REQUESTS * end / ENDS;
            allowed.store(until_now, Ordering::Relaxed);
            let middle = until_now - REQUESTS / ENDS / 2;
            until("load", PATIENCE, || {
                (sent.load(Ordering::Relaxed) >= middle).then_some(())
            });
            let running = gateway.take().expect("it runs");
            running.signal(Signal::TERM);
            longest = longest.max(time_to_end(running));
            gateway = Some(site.layout.start_gateway());
        }
    });
    assert!(gateway.expect("the last one").stop().success());
    let by_the_way = events(&site, "accepted");
    all_are_answered(&mut site, &names);
    println!(
        "{REQUESTS} requests while {ENDS} gateways were ended, which took {:.2} s at most; \
         {by_the_way} taken before all was over, each answered once",
        longest.as_secs_f32()
    );
    assert!(longest < MARGIN, "{longest:?}");
}
