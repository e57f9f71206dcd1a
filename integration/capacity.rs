//! More on the milter port than it has room for, of connections and of content:
//! whoever does nothing makes room for the next, what is too much is refused for
//! now, both show in log, metrics and /readyz, and honest requests go on.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use harness::{
    ALICE, BOB, Draft, GATEWAY, House, Layout, MemoryLimit, Milter, Pages, ask, begin, packet,
    pairs, request_fields, request_with, send, taken, until,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A loaded machine may need this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// As it is shipped.
const MAX_CONNECTIONS: usize = 1000;

const SESSIONS: &str = "kms_gateway_milter_sessions";
const ENDED: &str = "kms_gateway_milter_connections_ended_total";

/// A file descriptor for each connection, here and in the gateway.
fn allow_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.current.map(|current| current.max(count));
    let allowed = Rlimit {
        current: wanted,
        maximum: limit.maximum.map(|maximum| maximum.max(count)),
    };
    setrlimit(Resource::Nofile, allowed).expect("a right of root");
}

fn lines_of(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_thousand_idle_connections_leave_the_gateway_open() {
    allow_descriptors(5_000);
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let house = House::of(layout);
    until("it is ready", PATIENCE, || {
        (pages.get("/readyz").body == "ready\n").then_some(())
    });

    let mut idle: Vec<Milter> = (0..MAX_CONNECTIONS).map(|_| house.negotiated()).collect();
    // Another connection of the test's own may still be closing.
    until("all are counted", PATIENCE, || {
        (pages.metrics().value(SESSIONS) == Some(MAX_CONNECTIONS as f64)).then_some(())
    });
    let sessions: Vec<Milter> = (0..50).map(|_| house.session()).collect();
    for session in sessions {
        assert_eq!(session.quit(), "");
    }
    // The first to come were the first to go.
    for ended in &mut idle[..50] {
        assert_eq!(ended.rest(), "");
    }
    house.serves();

    let counted = pages.metrics().counted(ENDED);
    assert_eq!(counted.keys().collect::<Vec<_>>(), ["idle"]);
    assert!(counted["idle"] >= 50.0, "{counted:?}");
    let warning = until("probes hear of it", PATIENCE, || {
        let page = pages.get("/readyz");
        assert_eq!(page.status, 200, "{page:?}");
        page.body.contains("warning: ").then_some(page.body)
    });
    assert!(warning.contains("the milter port was full"), "{warning}");
    let log = house.gateway.log();
    let told = lines_of(&log, "the milter port is full");
    assert!((1..=2).contains(&told), "{told} lines: {log}");
}

#[test]
fn a_full_house_ends_the_session_that_was_idle_longest() {
    let layout = House::layout();
    layout.set_gateway("milter", "max_connections", 20);
    let house = House::of(layout);
    let mut inside: Vec<Milter> = (0..20).map(|_| house.session()).collect();
    // None of those in a message is ended.
    let mut busy = inside.remove(0);
    begin(&mut busy);
    for session in &mut inside[1..] {
        assert_eq!(ask(session), taken());
    }
    let mut next = house.session();
    assert_eq!(ask(&mut next), taken());
    assert_eq!(inside[0].rest(), "");
    for session in &mut inside[1..] {
        assert_eq!(ask(session), taken());
    }
    busy.content(pairs(&request_fields()), b"please\r\n");
    assert_eq!(busy.end(), taken());
}

/// A real Postfix whose idle session is ended goes on without the gateway, and
/// what is for the gateway comes by the internal listener.
#[test]
fn ending_an_idle_session_of_postfix_costs_no_mail() {
    let layout = Layout::new();
    layout.set_gateway("milter", "max_connections", 5);
    let pages = Pages::configure(&layout);
    let mut site = layout.start();
    // It warns of the connection that is gone.
    site.gateway_dies = true;
    let mut smtp = site.smtp();
    let gateway = site.layout.port(8890);
    let others: Vec<Milter> = (0..5).map(|_| Milter::session(gateway)).collect();
    let idle = pages.metrics().counted(ENDED);
    assert_eq!(idle.get("idle"), Some(&1.0), "{idle:?}");
    drop(others);

    for (number, recipients) in [&[BOB][..], &[GATEWAY, BOB], &[GATEWAY]].iter().enumerate() {
        let subject = format!("{{KMS:Help}} {number}");
        let draft = Draft::request(&subject, "please\n").with("Cc", BOB);
        let accepted = smtp.send(ALICE, recipients, &draft.to_bytes());
        assert_eq!(accepted.code, 250, "{accepted:?}");
        if recipients.contains(&BOB) {
            site.mailbox(BOB).wait_for("Bob's copy", |mail| {
                mail.header("Subject").as_ref() == Some(&subject)
            });
        }
        if recipients.contains(&GATEWAY) {
            site.mailbox(ALICE).wait_for_reply(&subject);
        }
    }
    let log = site.postfix.log();
    assert_eq!(lines_of(&log, "warning: milter"), 1, "{log}");
    assert_eq!(site.mailbox(ALICE).mails().len(), 2);
}

/// A limit that a small container has.
const LIMIT: u64 = 256 * 1024 * 1024;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A gateway as it is shipped, in a control group.
struct Confined {
    house: House,
    pages: Pages,
    // Last: nothing runs in it any more then.
    _limit: MemoryLimit,
}

impl Confined {
    fn new(name: &str) -> Self {
        let limit = MemoryLimit::new(name, LIMIT);
        let layout = House::layout();
        layout.set_gateway("throttle", "newcomers_at_once", 100_000);
        let pages = Pages::configure(&layout);
        let launcher = limit.launcher();
        let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
        let gateway = layout.start_gateway_by(&launcher);
        Self {
            house: House::with(layout, gateway),
            pages,
            _limit: limit,
        }
    }

    /// The most memory that it has had, which must be less than the limit by far.
    fn assert_bounded(&self) {
        let peak = self.house.usage().peak();
        println!("{} MiB at most", peak / 1024);
        assert!(peak * 1024 < LIMIT / 5 * 4, "{peak} KiB");
    }
}

#[test]
fn a_thousand_unfinished_bodies_hold_bounded_memory_and_nobody_up() {
    allow_descriptors(5_000);
    let confined = Confined::new("unfinished");
    let house = &confined.house;
    let fields = request_with("Subject", "{KMS:Help} a large one");
    let body = vec![b'x'; MIB + MIB / 2];
    let unfinished: Vec<Milter> = (0..MAX_CONNECTIONS - 10)
        .map(|number| {
            let mut session = house.session_at_content();
            // Those without room are read all the same.
            session.content(pairs(&fields), &body);
            if number % 100 == 0 {
                house.serves();
            }
            session
        })
        .collect();
    house.serves();
    confined.assert_bounded();

    // They are ended, and there is room for a large message again.
    let ended = |reason: &str| confined.pages.metrics().counted(ENDED).get(reason).copied();
    until("whoever stands still is ended", PATIENCE, || {
        ended("standing_still").filter(|count| *count >= 1.0)
    });
    until("a large message is taken", PATIENCE, || {
        let answer = send(&mut house.session(), &request_fields(), &body);
        (answer == taken()).then_some(())
    });
    drop(unfinished);
    house.serves();
    confined.assert_bounded();
}

/// A hostile peer, from connect to the end.
type Hostile = fn(&House);

fn many_fields(house: &House) {
    let mut fields = request_fields();
    fields.extend(vec![("X".to_owned(), "y".to_owned()); 20_000]);
    send(&mut house.session(), &fields, b"");
}

fn a_field_of_a_packet(house: &House) {
    let mut session = house.session_at_content();
    let mut field = b"X-Large\0 ".to_vec();
    field.resize(MIB - 2, b'\n');
    field.push(0);
    session.try_write(&packet('L', &field));
    session.content(pairs(&request_fields()), b"");
    session.end();
}

fn a_crowd_in_to(house: &House) {
    let addresses: Vec<String> = (0..5_000).map(|number| format!("r{number}@v.e")).collect();
    let crowd = format!("{}, {GATEWAY}", addresses.join(",\n "));
    send(&mut house.session(), &request_with("To", &crowd), b"");
}

fn recipients_of_our_own(house: &House) {
    let mut session = house.session();
    session.mail("vendor@vendor.example");
    let ours: Vec<String> = (0..5_000)
        .map(|number| format!("gateway+{number}@kms.example.org"))
        .collect();
    session.recipients(&ours);
    if session.data() == 'c' {
        session.content(pairs(&request_fields()), b"please\r\n");
        session.end();
    }
}

fn long_recipients(house: &House) {
    let long = "x".repeat(500_000);
    let mut session = house.session();
    session.mail("vendor@vendor.example");
    for _ in 0..5 {
        session.send('R', format!("<{long}@vendor.example>\0").as_bytes());
        session.answer();
    }
}

fn a_body_past_the_limit(house: &House) {
    send(
        &mut house.session(),
        &request_fields(),
        &vec![b'x'; 8 * MIB],
    );
}

/// A text that grows when it is decoded, as large as it may be.
fn a_text_that_grows(house: &House) {
    let mut fields = request_fields();
    fields.push((
        "Content-Type".to_owned(),
        "text/plain; charset=iso-8859-1".to_owned(),
    ));
    let line = [&[0xe9; 70][..], b"\r\n"].concat();
    let body = line.repeat(2 * MIB / line.len() - KIB);
    send(&mut house.session(), &fields, &body);
}

fn macros_of_every_stage(house: &House) {
    let mut session = house.negotiated();
    for stage in ['C', 'H', 'M', 'R', 'T', 'N', 'E'] {
        let names = (0..32).map(|number| format!("{{{number}}}\0{}\0", "v".repeat(200)));
        let macros: String = names.collect();
        session.try_write(&packet('D', format!("{stage}{macros}").as_bytes()));
    }
    session.quit();
}

fn half_a_packet(house: &House) {
    let mut session = house.session_at_content();
    session.try_write(&packet('B', &vec![b'x'; 900 * KIB])[..500 * KIB]);
}

const HOSTILE: [Hostile; 9] = [
    many_fields,
    a_field_of_a_packet,
    a_crowd_in_to,
    recipients_of_our_own,
    long_recipients,
    a_body_past_the_limit,
    a_text_that_grows,
    macros_of_every_stage,
    half_a_packet,
];

/// The gateway may hang up on a hostile peer when memory is short. Any other
/// answer that the peer did not expect is a fault.
fn assert_hung_up_on(panic: Box<dyn Any + Send>) {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let is_hung_up_on = text.is_some_and(|text| {
        text == "an answer, not the end" || text.starts_with("the gateway reads: ")
    });
    if !is_hung_up_on {
        panic::resume_unwind(panic);
    }
}

#[test]
fn two_hundred_hostile_peers_at_once_leave_room_for_honest_requests() {
    let peers = 200;
    let confined = Confined::new("hostile");
    let house = &confined.house;
    let left = AtomicUsize::new(peers);
    thread::scope(|scope| {
        for hostile in HOSTILE.iter().cycle().take(peers) {
            let left = &left;
            scope.spawn(move || {
                let outcome = panic::catch_unwind(AssertUnwindSafe(|| hostile(house)));
                left.fetch_sub(1, Ordering::Relaxed);
                if let Err(panic) = outcome {
                    assert_hung_up_on(panic);
                }
            });
        }
        let mut honest = 0;
        while left.load(Ordering::Relaxed) > 0 && !thread::panicking() {
            house.serves();
            honest += 1;
        }
        println!("{honest} honest requests meanwhile");
    });
    house.serves();
    confined.assert_bounded();
}
