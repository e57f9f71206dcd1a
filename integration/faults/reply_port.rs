//! Postfix's reply port when it is slow, dead, or refuses for reasons of the site's:
//! each reply is handed over once, none is lost, and what is new doesn't wait behind
//! all that waited.

use std::{
    collections::BTreeSet,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{
    ALICE, BOB, CAROL, Draft, GATEWAY, Layout, Manner, Page, Pages, Signer, Site, until,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// How long the signer hangs: many leases.
const HANG: Duration = Duration::from_secs(8);

/// A site whose replies pass a signer of its own, with the shortest lease.
fn with_signer(manner: Manner) -> (Site, Signer) {
    let layout = Layout::new();
    layout.set_gateway("worker", "lease", "1s");
    layout.set_gateway("worker", "first_retry", "1s");
    layout.set_gateway("worker", "longest_retry", "2s");
    let address = layout.port(8891);
    layout.set_postfix_service(18025, &format!("smtpd_milters=inet:{address}"));
    let signer = Signer::at(address, manner);
    (layout.start(), signer)
}

fn send(site: &Site, from: &str, subject: &str) {
    let draft = Draft::request(subject, "").with("From", from);
    let taken = site.smtp().send(from, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

fn json(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let shown = site.layout.gateway(arguments);
    serde_json::from_str(&shown).expect("an array")
}

/// The audit log's entries of this event.
fn events(site: &Site, event: &str) -> Vec<Value> {
    let mut entries = json(site, &["audit", "list", "--json"]);
    entries.retain(|entry| entry["event"] == event);
    entries
}

fn wait_for_empty_queue(site: &Site) {
    until("nothing waits", PATIENCE, || {
        json(site, &["queue", "list", "--json"])
            .is_empty()
            .then_some(())
    });
}

#[test]
fn a_reply_that_is_taken_after_many_leases_goes_out_once() {
    let (mut site, signer) = with_signer(Manner::Hangs);
    send(&site, ALICE, "{KMS:Help}");
    until("Postfix has the reply", PATIENCE, || {
        (signer.seen() > 0).then_some(())
    });
    thread::sleep(HANG);
    let queue = json(&site, &["queue", "list", "--json"]);
    assert_eq!(
        (&queue[0]["state"], &queue[0]["attempts"]),
        (&Value::from("in-work"), &Value::from(1)),
        "{queue:?}"
    );
    signer.change(Manner::Passes);
    site.mailbox(ALICE).wait_for_reply("{KMS:Help}");
    wait_for_empty_queue(&site);
    // Whatever else were on its way would arrive now.
    let gateway = site.gateway.take().expect("it runs");
    assert!(gateway.stop().success());
    until("Postfix's queue is empty", PATIENCE, || {
        site.postfix.queue().is_empty().then_some(())
    });
    assert_eq!(signer.seen(), 1, "copies");
    assert_eq!(site.mailbox(ALICE).mails().len(), 1);
    let delivered = events(&site, "delivered");
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0]["attempts"], 1);
}

#[test]
fn no_end_waits_for_a_port_that_hangs_and_the_reply_goes_out_after_the_next_start() {
    let (mut site, signer) = with_signer(Manner::Hangs);
    send(&site, ALICE, "{KMS:Help}");
    until("Postfix has the reply", PATIENCE, || {
        (signer.seen() > 0).then_some(())
    });
    let gateway = site.gateway.take().expect("it runs");
    assert!(gateway.stop().success());
    site.gateway = Some(site.layout.start_gateway());
    until("another attempt", PATIENCE, || {
        (signer.seen() > 1).then_some(())
    });
    signer.change(Manner::Passes);
    wait_for_empty_queue(&site);
    let replies = site.mailbox(ALICE).wait_for_count(2);
    let ids: BTreeSet<Option<String>> = replies
        .iter()
        .map(|reply| reply.header("Message-ID"))
        .collect();
    assert_eq!(ids.len(), 1, "one reply, though in two copies");
    let delivered = events(&site, "delivered");
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0]["attempts"], 2);
}

/// How many replies wait for the port.
const BACKLOG: usize = 200;

/// Hundreds of messages are no flood here, neither to the gateway nor to Postfix:
/// it would put each off by a second after a hundred that were discarded and not
/// answered.
fn patient_with_senders(layout: &Layout) {
    layout.set_postfix("in_flow_delay=0");
    for key in ["at_once", "newcomers_at_once", "network_factor"] {
        layout.set_gateway("throttle", key, 10_000);
    }
    layout.set_gateway("throttle", "block_above", 20_000);
}

/// An address of its own in Alice's mailbox.
fn alice(number: usize) -> String {
    ALICE.replace('@', &format!("+{number}@"))
}

/// Requests of so many senders.
fn send_backlog(site: &Site, count: usize) {
    let mut smtp = site.smtp();
    for number in 0..count {
        let from = alice(number);
        let draft = Draft::request(&format!("{{KMS:Help}} {number}"), "").with("From", &from);
        let taken = smtp.send(&from, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
}

/// A port that takes connections, and turns each away.
struct TurnsAway {
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    port: SocketAddr,
    thread: Option<thread::JoinHandle<()>>,
}

impl TurnsAway {
    fn at(port: SocketAddr) -> Self {
        let listener = TcpListener::bind(port).expect("the port");
        let (connections, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, stopped) = (connections.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream
                    .expect("a client")
                    .write_all(b"421 4.3.2 not now\r\n");
            }
        });
        Self {
            connections,
            stop,
            port,
            thread: Some(thread),
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Nobody listens there any more.
impl Drop for TurnsAway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn wait_for_page(pages: Pages, path: &str, what: &str) -> Page {
    until(what, PATIENCE, || {
        let page = pages.get(path);
        page.body.contains(what).then_some(page)
    })
}

#[test]
fn a_backlog_that_waits_for_the_port_costs_one_attempt_at_a_time_and_few_lines() {
    let layout = Layout::new();
    let pages = Pages::configure(&layout);
    patient_with_senders(&layout);
    layout.set_gateway("worker", "first_retry", "2s");
    layout.set_gateway("worker", "longest_retry", "4s");
    let port = layout.close_reply_port();
    let turns_away = TurnsAway::at(port);
    let begin = Instant::now();
    let site = layout.start();
    send_backlog(&site, BACKLOG);
    let waiting = until("all wait for the port", PATIENCE, || {
        let queue = json(&site, &["queue", "list", "--json"]);
        let is_reply = |item: &Value| item["what"] == "reply";
        (queue.len() == BACKLOG && queue.iter().all(is_reply)).then_some(queue)
    });
    for item in waiting {
        let is_trial = item["state"] == "in-work";
        assert!(is_trial || item["state"] == "for-the-port", "{item}");
        assert!(is_trial || item["attempts"] == 0, "{item}");
    }
    // Some more attempts, none of which costs the backlog anything.
    let before = turns_away.connections();
    until("the port is tried again", PATIENCE, || {
        (turns_away.connections() >= before + 4).then_some(())
    });
    // Those under way when it was found dead, then one each 1.5 s at most.
    let connections = turns_away.connections();
    let most = 4 + begin.elapsed().as_millis() / 1500 + 1;
    assert!(
        connections as u128 <= most,
        "{connections}, and {most} may be"
    );
    let log = site.gateway.as_ref().expect("it runs").log();
    let complains = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    let complaints: Vec<&str> = log.lines().filter(complains).collect();
    assert!(complaints.len() * 10 < BACKLOG, "{complaints:#?}");
    assert!(
        complaints[0].contains("takes no replies"),
        "{complaints:#?}"
    );
    let ready = wait_for_page(pages, "/readyz", "warning: Postfix's reply port");
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains("421 4.3.2 not now"), "{ready:?}");
    wait_for_page(pages, "/metrics", "kms_gateway_reply_port_up 0");
    let attempts = pages
        .metrics()
        .counted("kms_gateway_delivery_attempts_total");
    let outcomes: Vec<&String> = attempts.keys().collect();
    assert_eq!(outcomes, ["no_port"]);

    drop(turns_away);
    site.open_reply_port();
    wait_for_empty_queue(&site);
    wait_for_page(pages, "/metrics", "kms_gateway_reply_port_up 1");
    until("no warning is left", PATIENCE, || {
        (pages.get("/readyz").body == "ready\n").then_some(())
    });
    let delivered = events(&site, "delivered");
    assert_eq!(delivered.len(), BACKLOG);
    assert!(delivered.iter().all(|entry| entry["attempts"] == 1));
    println!(
        "{BACKLOG} replies waited: {connections} attempts, {} lines",
        complaints.len()
    );
}

/// Left open, Postfix would end it after minutes (`smtpd_timeout`), and the next reply would be sent
/// in vain. The test's own session ends without QUIT.
#[test]
fn a_session_without_work_is_ended() {
    let site = Layout::new().start();
    send(&site, CAROL, "{KMS:Help}");
    until("the session with the reply port ends", PATIENCE, || {
        let log = site.postfix.log();
        let mut ends = log.lines().filter(|line| line.contains("disconnect from"));
        ends.any(|line| line.contains(" mail=1 ") && line.contains(" quit=1 "))
            .then_some(())
    });
    assert_eq!(events(&site, "delivered").len(), 1);
}

#[test]
fn new_replies_do_not_wait_behind_the_backlog() {
    const WAITING: usize = 100;
    let layout = Layout::new();
    patient_with_senders(&layout);
    layout.set_gateway("worker", "parallel_deliveries", 1);
    layout.set_gateway("worker", "first_retry", "1s");
    layout.set_gateway("worker", "longest_retry", "2s");
    layout.close_reply_port();
    let address = layout.port(8891);
    let _slow = Signer::at(address, Manner::Takes(Duration::from_millis(150)));
    let site = layout.start();
    send_backlog(&site, WAITING);
    until("all wait for the port", PATIENCE, || {
        let queue = json(&site, &["queue", "list", "--json"]);
        let is_reply = |item: &Value| item["what"] == "reply";
        (queue.len() == WAITING && queue.iter().all(is_reply)).then_some(())
    });
    send(&site, CAROL, "{KMS:Help} before");
    site.open_reply_port_with(&format!("smtpd_milters=inet:{address}"));
    until("the backlog goes out", PATIENCE, || {
        (events(&site, "delivered").len() > 4).then_some(())
    });
    send(&site, BOB, "{KMS:Help} after");
    wait_for_empty_queue(&site);
    let log = json(&site, &["audit", "list", "--json"]);
    for person in [CAROL, BOB] {
        let done = |event: &str| {
            let of_person = |entry: &&Value| {
                let whom = entry["target"].as_str().or(entry["recipients"][0].as_str());
                entry["event"] == event && whom == Some(person)
            };
            log.iter().position(|entry| of_person(&entry)).expect("it")
        };
        let (completed, delivered) = (done("completed"), done("delivered"));
        let deliveries = |entries: &[Value]| {
            let is_one = |entry: &&Value| entry["event"] == "delivered";
            entries.iter().filter(is_one).count()
        };
        let before = deliveries(&log[completed..delivered]);
        let after = deliveries(&log[delivered..]);
        assert!(before <= 6, "{person} waited for {before} others");
        assert!(after > 20, "the backlog was gone: {after} after {person}");
    }
}

#[test]
fn what_waits_for_the_port_for_too_long_is_given_up_without_an_attempt_for_each() {
    let layout = Layout::new();
    patient_with_senders(&layout);
    for key in ["first_retry", "longest_retry"] {
        layout.set_gateway("worker", key, "1h");
    }
    layout.set_gateway("worker", "give_up", "5s");
    let turns_away = TurnsAway::at(layout.close_reply_port());
    let site = layout.start();
    send_backlog(&site, 20);
    wait_for_empty_queue(&site);
    let given_up = events(&site, "undeliverable");
    assert_eq!(given_up.len(), 20);
    for entry in &given_up {
        let why = entry["detail"].as_str().expect("a text");
        assert!(why.contains("421 4.3.2 not now"), "{why}");
    }
    // Those that were on their way when the port was found dead.
    assert!(
        turns_away.connections() <= 4,
        "{}",
        turns_away.connections()
    );
}

#[test]
fn what_our_own_port_refuses_is_kept_and_goes_out_when_that_is_mended() {
    let layout = Layout::new();
    let pages = Pages::configure(&layout);
    patient_with_senders(&layout);
    layout.set_gateway("worker", "first_retry", "1s");
    // Longer than the test may last.
    layout.set_gateway("worker", "longest_retry", "1h");
    layout.set_postfix_service(18025, "mynetworks=192.0.2.0/24");
    let site = layout.start();
    send_backlog(&site, 8);
    let refusal = "RCPT: 554 5.7.1 ";
    until("Postfix refuses what comes", PATIENCE, || {
        let queue = json(&site, &["queue", "list", "--json"]);
        let is_known = |item: &Value| {
            let trouble = item["last_trouble"]["trouble"].as_str();
            trouble.is_some_and(|trouble| trouble.contains(refusal))
        };
        (queue.len() == 8 && queue.iter().filter(|item| is_known(item)).count() >= 3).then_some(())
    });
    assert_eq!(events(&site, "undeliverable").len(), 0, "given up");
    let ready = wait_for_page(pages, "/readyz", "kept that Postfix refused");
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains(refusal), "{ready:?}");
    wait_for_page(pages, "/readyz", "warning: Postfix's reply port");
    until("the metric shows it", PATIENCE, || {
        let metrics = pages.metrics();
        let refused = metrics.value("kms_gateway_spool_replies_refused");
        let is_up = metrics.value("kms_gateway_reply_port_up");
        (refused >= Some(3.0) && is_up == Some(0.0)).then_some(())
    });
    let checked = site.layout.try_gateway(&["check"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let warning = "(reply.smtp) takes no reply: Postfix refuses the reply, and not for its address";
    assert!(checked.stdout.contains(warning), "{checked:?}");
    assert!(checked.stdout.contains(refusal), "{checked:?}");
    let log = || site.gateway.as_ref().expect("it runs").log();
    until("the log says so", PATIENCE, || {
        log()
            .contains("they are kept and tried again")
            .then_some(())
    });

    site.layout
        .set_postfix_service(18025, "mynetworks=127.0.0.0/8");
    site.reload_postfix();
    site.layout.gateway(&["queue", "retry", "--all"]);
    wait_for_empty_queue(&site);
    assert_eq!(events(&site, "delivered").len(), 8);
    until("no warning is left", PATIENCE, || {
        (pages.get("/readyz").body == "ready\n").then_some(())
    });
    let checked = site.layout.gateway(&["check"]);
    assert!(checked.contains("which takes replies"), "{checked}");
    let lines = log().matches("they are kept and tried again").count();
    assert!(lines <= 3, "{lines} lines");
}

#[test]
fn a_reply_that_a_filter_refuses_is_kept_and_holds_up_no_other() {
    let (site, signer) = with_signer(Manner::Refuses("unwanted"));
    for number in 0..4 {
        send(&site, CAROL, &format!("{{KMS:Help}} unwanted {number}"));
        send(&site, ALICE, &format!("{{KMS:Help}} unwanted {number}"));
    }
    send(&site, BOB, "{KMS:Help} 1");
    site.mailbox(BOB).wait_for_reply("{KMS:Help} 1");
    until("it is tried again", PATIENCE, || {
        let queue = json(&site, &["queue", "list", "--json"]);
        let again = |item: &&Value| item["attempts"].as_u64() > Some(1);
        (queue.len() == 8 && queue.iter().filter(again).count() >= 2).then_some(())
    });
    send(&site, BOB, "{KMS:Help} 2");
    site.mailbox(BOB).wait_for_reply("{KMS:Help} 2");
    assert_eq!(events(&site, "undeliverable").len(), 0, "given up");
    signer.change(Manner::Passes);
    wait_for_empty_queue(&site);
    assert_eq!(site.mailbox(ALICE).mails().len(), 4);
}

#[test]
fn an_address_that_the_site_refuses_by_a_rule_of_its_own_holds_up_no_other() {
    let layout = Layout::new();
    layout.set_gateway("worker", "first_retry", "1s");
    layout.set_postfix_service(
        18025,
        "smtpd_recipient_restrictions=\
         check_recipient_access,inline:{{refused.example=REJECT}},permit_mynetworks,reject",
    );
    let site = layout.start();
    site.send_with_refused_targets("refused.example", 4);
    for number in 0..4 {
        let subject = format!("{{KMS:Help}} {number}");
        site.mailbox(ALICE).wait_for_reply(&subject);
    }
    let queue = json(&site, &["queue", "list", "--json"]);
    assert_eq!(queue.len(), 16, "{queue:?}");
}
