//! More on the milter port than it has room for: whoever does nothing makes room
//! for the next, which shows in log, metrics and /readyz and costs no mail.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::time::Duration;

use harness::{ALICE, BOB, Draft, GATEWAY, House, Layout, Milter, Pages, ask, taken, until};
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
    // Of those in a message none is ended.
    let mut busy = inside.remove(0);
    harness::begin(&mut busy);
    for session in &mut inside[1..] {
        assert_eq!(ask(session), taken());
    }
    let mut next = house.session();
    assert_eq!(ask(&mut next), taken());
    assert_eq!(inside[0].rest(), "");
    for session in &mut inside[1..] {
        assert_eq!(ask(session), taken());
    }
    busy.content(harness::pairs(&harness::request_fields()), b"please\r\n");
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
