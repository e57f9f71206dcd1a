//! The gateway killed, at each place where it counts and at any other: each
//! request that was accepted has one committed result, and its reply arrives,
//! the same bytes if it does so twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use kms_gateway::faults::{FaultPoint, VARIABLE};
use serde_json::Value;

use crate::harness::{
    ALICE, Draft, GATEWAY, Layout, Module, Site, Smtp, SoftwareModule, run, until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Short waits: what was leased by a process that is dead must not be waited for.
fn impatient() -> Layout {
    let layout = Layout::new();
    for (key, time) in [
        ("lease", "2s"),
        ("first_retry", "1s"),
        ("longest_retry", "2s"),
    ] {
        layout.set_gateway("worker", key, time);
    }
    // A flood of one vendor's is not what is tested here.
    layout.set_gateway("throttle", "at_once", 100_000);
    layout.set_gateway("throttle", "block_above", 200_000);
    layout.set_gateway("throttle", "newcomers_at_once", 100_000);
    layout
}

/// Sends it, whatever the gateway is up to: Postfix has it then.
fn send(site: &Site, draft: &Draft) {
    let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

fn audit(site: &Site) -> Vec<Value> {
    let json = site.layout.gateway(&["audit", "list", "--json"]);
    serde_json::from_str(&json).expect("an array")
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_default()
}

/// The ids of the requests with this event, as often as it is in the log.
fn requests(audit: &[Value], event: &str) -> Vec<String> {
    let of_event = audit.iter().filter(|entry| text(entry, "event") == event);
    of_event
        .map(|entry| text(entry, "request_id").to_owned())
        .collect()
}

/// Checks a quiet site: each subject was answered once, and a reply that came
/// twice has the same bytes.
fn check(site: &Site, subjects: &BTreeSet<String>) -> usize {
    site.postfix.deliver_all();
    let replies = until("every request answered", PATIENCE, || {
        let mails = site.mailbox(ALICE).mails();
        let answered: BTreeSet<String> = mails
            .iter()
            .filter_map(|mail| mail.header("Subject"))
            .collect();
        (subjects.is_subset(&answered) && site.postfix.queue().is_empty()).then_some(mails)
    });
    let audit = until("every reply noted", PATIENCE, || {
        let audit = audit(site);
        let done = requests(&audit, "delivered").len();
        (done == requests(&audit, "accepted").len()).then_some(audit)
    });
    let accepted = requests(&audit, "accepted");
    let completed = requests(&audit, "completed");
    let unique: BTreeSet<&String> = completed.iter().collect();
    assert_eq!(completed.len(), unique.len(), "two results of one request");
    assert_eq!(accepted.iter().collect::<BTreeSet<_>>(), unique);
    assert_eq!(accepted.len(), subjects.len(), "one request is one request");

    let mut by_id: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for reply in &replies {
        let id = reply.header("Message-ID").expect("an id");
        by_id.entry(id).or_default().push(reply.as_sent().to_vec());
    }
    let twice = by_id.values().filter(|copies| copies.len() > 1).count();
    for copies in by_id.values() {
        assert!(
            copies.windows(2).all(|pair| pair[0] == pair[1]),
            "not the same bytes"
        );
    }
    assert_eq!(by_id.len(), subjects.len(), "one reply a request");
    assert_sound(site);
    twice
}

/// The database and the chain of its audit log.
fn assert_sound(site: &Site) {
    let database = site.layout.directory().join("gateway/gateway.sqlite3");
    let mut sqlite = Command::new("sqlite3");
    sqlite
        .arg(&database)
        .arg("PRAGMA integrity_check; PRAGMA foreign_key_check;");
    assert_eq!(run(&mut sqlite, b""), "ok\n");
    site.layout.gateway(&["audit", "verify"]);
}

/// The key load files that the KMC has on record.
fn issues(site: &Site) -> usize {
    let database = site.layout.directory().join("gateway/gateway.sqlite3");
    let mut sqlite = Command::new("sqlite3");
    sqlite.arg(&database).arg("SELECT count(*) FROM klf_issues");
    run(&mut sqlite, b"").trim().parse().expect("a number")
}

/// At which passing of it the gateway dies: with one before and one after it.
fn deadly_passing(point: FaultPoint) -> u32 {
    match point {
        // Each of two workers looks for requests when it starts.
        FaultPoint::BeforeLease => 4,
        _ => 2,
    }
}

#[test]
fn killed_at_every_point_no_request_is_lost_or_answered_twice() {
    let layout = impatient();
    let module = SoftwareModule::new(&layout, "SM1");
    let public_key = layout.gateway(&["kmc", "public-key"]);
    let mut site = layout.start();
    site.gateway_dies = true;
    let mut subjects = BTreeSet::new();
    let mut again = 0;
    for (number, point) in FaultPoint::ALL.into_iter().enumerate() {
        assert!(site.gateway.take().expect("it runs").stop().success());
        let doom = format!("{VARIABLE}={point:?}:{}", deadly_passing(point));
        let doomed = site.layout.start_gateway_by(&["env", &doom]);
        for part in 0..3 {
            let subject = format!("{{KMS:GetKlfStsEd2}} {number}.{part}");
            send(
                &site,
                &Draft::request(&subject, &module.request(&public_key)),
            );
            subjects.insert(format!("Auto: {subject}"));
        }
        assert_eq!(doomed.wait_for_end().signal(), Some(9), "{point:?}");
        site.gateway = Some(site.layout.start_gateway());
        again = check(&site, &subjects);
        eprintln!("killed at {point:?}: {} requests answered", subjects.len());
    }
    // If Postfix never saw the answer, it offered the message again through the
    // internal listener.
    let known = requests(&audit(&site), "duplicate").len();
    assert!(known >= 2, "{known} messages came twice");
    // The KMC's own tables: what was committed twice would be there twice.
    assert_eq!(issues(&site), subjects.len());
    eprintln!(
        "{} points, {} requests and as many key load files; {known} messages and {again} replies came twice",
        FaultPoint::ALL.len(),
        subjects.len()
    );
}

fn chance() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("random bytes");
    u64::from_ne_bytes(bytes)
}

#[test]
fn killed_at_random_under_load_every_request_is_answered_once() {
    const KILLS: usize = 50;
    const REQUESTS: usize = 500;
    const SENDERS: usize = 4;
    let mut site = impatient().start();
    site.gateway_dies = true;
    let subjects: BTreeSet<String> = (0..REQUESTS)
        .map(|number| format!("Auto: {{KMS:GetPublicKey}} {number}"))
        .collect();
    let port = site.layout.port(2525);
    let mut gateway = site.gateway.take();
    let kills = AtomicUsize::new(0);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let kills = &kills;
            scope.spawn(move || {
                let mut smtp = Smtp::connect(port);
                for number in (sender..REQUESTS).step_by(SENDERS) {
                    // As many between any two kills.
                    until("the next kill", PATIENCE, || {
                        let allowed = (kills.load(Ordering::Relaxed) + 1) * REQUESTS / KILLS;
                        (number < allowed).then_some(())
                    });
                    let subject = format!("{{KMS:GetPublicKey}} {number}");
                    let draft = Draft::request(&subject, "please\n");
                    let taken = smtp.send(ALICE, &[GATEWAY], &draft.to_bytes());
                    assert_eq!(taken.code, 250, "{taken:?}");
                }
            });
        }
        // A life of 20 to 200 ms ends in the middle of anything.
        while kills.load(Ordering::Relaxed) < KILLS {
            thread::sleep(Duration::from_millis(20 + chance() % 180));
            if let Some(running) = gateway.take() {
                running.kill();
                kills.fetch_add(1, Ordering::Relaxed);
            }
            gateway = Some(site.layout.start_gateway());
        }
    });
    site.gateway = gateway;
    let twice = check(&site, &subjects);
    let kills = kills.into_inner();
    eprintln!("{kills} kills, {REQUESTS} requests, each answered; {twice} replies came twice");
}
