//! More on the milter port than it has room for, of connections and of content:
//! whoever does nothing makes room for the next, what is too much is refused for
//! now, both show in log, metrics and /readyz, and honest requests go on.

use std::{
    net::TcpStream,
    panic,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::harness::{
    ALICE, BOB, Draft, GATEWAY, House, Layout, MemoryLimit, Milter, Pages, allow_descriptors, ask,
    begin, hostile::text_that_grows, hostile_peers, pairs, request_fields, request_with, send,
    taken, until,
};

/// A loaded machine may need this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// As it is shipped.
const MAX_CONNECTIONS: usize = 1000;

const SESSIONS: &str = "kms_gateway_milter_sessions";
const ENDED: &str = "kms_gateway_milter_connections_ended_total";

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
    let full = lines_of(&log, "the milter port is full");
    assert!((1..=2).contains(&full), "{full} lines: {log}");
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

/// The figure of docs/mail-admin.md, in KiB.
const HOSTILE_CONNECTION: u64 = 170;

#[test]
fn a_hostile_connection_holds_no_more_than_the_readme_says() {
    let house = House::new();
    let count = 200;
    let memory = house.memory_for(|| {
        let held: Vec<TcpStream> = (0..count)
            .map(|_| hostile_peers::hold(house.layout.port(8890)))
            .collect();
        house.serves();
        assert!(held.iter().all(hostile_peers::is_open), "it hung up");
    });
    println!("{} KiB a connection", memory / count);
    assert!(memory < count * HOSTILE_CONNECTION, "{memory} KiB");
}

/// As in `src/milter/memory.rs`: copies for which there is room at the end of a
/// message, beside the content itself.
const COPIES: u64 = 8;

/// Buffers, and pages of the database, in KiB.
const CONSTANT: u64 = 2 * 1024;

#[test]
fn the_end_of_a_message_takes_no_more_copies_than_there_is_room_for() {
    // The message waits, so that the worker makes no copies.
    let layout = House::layout();
    layout.set_gateway("throttle", "at_once", 1);
    layout.set_gateway("throttle", "every", "1h");
    let house = House::of(layout);
    let (fields, body) = text_that_grows();
    let mut first = fields.clone();
    first.retain(|(name, _)| name != "Message-ID");
    assert_eq!(send(&mut house.session(), &first, b"please\r\n"), taken());
    let memory = house.memory_for(|| {
        assert_eq!(send(&mut house.session(), &fields, &body), taken());
    });
    assert_eq!(house.newest(), ("defer".to_owned(), "flood".to_owned()));
    let size = (body.len() / KIB) as u64;
    println!("{memory} KiB for a message of {size} KiB");
    assert!(memory < (1 + COPIES) * size + CONSTANT, "{memory} KiB");
}

#[test]
fn two_hundred_hostile_peers_at_once_leave_room_for_honest_requests() {
    let peers = 200;
    let kinds = hostile_peers::all_kinds();
    let confined = Confined::new("hostile");
    let house = &confined.house;
    let gateway = house.layout.port(8890);
    let left = AtomicUsize::new(peers);
    let answered = AtomicU64::new(0);
    thread::scope(|scope| {
        for connections in kinds.iter().cycle().take(peers) {
            let (left, answered) = (&left, &answered);
            scope.spawn(move || {
                // Counted down however the peer ends, so that the test does.
                let said = panic::catch_unwind(|| hostile_peers::say(gateway, connections));
                left.fetch_sub(1, Ordering::Relaxed);
                match said {
                    Ok(bytes) => answered.fetch_add(bytes, Ordering::Relaxed),
                    Err(panic) => panic::resume_unwind(panic),
                };
            });
        }
        let mut honest = 0;
        while left.load(Ordering::Relaxed) > 0 {
            house.serves();
            honest += 1;
        }
        println!("{honest} honest requests meanwhile");
        assert!(honest > 0);
    });
    house.serves();
    let answered = answered.into_inner();
    println!("{} kinds, {answered} bytes of answers", kinds.len());
    assert!(answered > 0);
    confined.assert_bounded();
}
