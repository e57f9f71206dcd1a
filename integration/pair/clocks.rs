//! A machine whose clock is ten minutes wrong: the gateways go by the database's clock, and nothing
//! changes.

use std::{fs, thread};

use jiff::{SignedDuration, Timestamp};
use kms_gateway::faults::FaultPoint;
use rustix::process::Signal;

use crate::{
    allowance::{expected, laid_out, outcome},
    harness::{BOB, CAROL, Gateway, Layout, Postgresql, until},
    log::Log,
    requests::{Asked, PATIENCE, Vendor, address, help, send},
    sites::{Layouts, Pair},
    stopped::stopping_at,
};

const AHEAD: &str = "+600";
const BEHIND: &str = "-600";

/// An entry may wait so long for its commit, with the time from before.
const ABOUT: SignedDuration = SignedDuration::from_mins(1);

/// Starts a gateway on a machine whose clock is wrong by so many seconds.
fn start_wrong(layout: &Layout, by: &str) -> Gateway {
    let preload = format!("LD_PRELOAD={}", faketime());
    let time = format!("FAKETIME={by}");
    // Time passes as ever.
    let passing = "FAKETIME_DONT_FAKE_MONOTONIC=1";
    layout.start_gateway_by(&["env", &preload, &time, passing])
}

/// The library that shows a program a wrong clock.
fn faketime() -> String {
    let libraries = fs::read_dir("/usr/lib").expect("the libraries");
    let library = |entry: fs::DirEntry| entry.path().join("faketime/libfaketimeMT.so.1");
    let mut found = libraries.filter_map(|entry| entry.ok().map(library));
    let found = found.find(|path| path.exists());
    let found = found.expect("the package faketime");
    found.to_str().expect("a path in UTF-8").to_owned()
}

/// Both sites, the second with such a clock.
fn start_both(layouts: Layouts, by: &str) -> Pair {
    let [first, second] = layouts.0;
    let gateway = start_wrong(&second, by);
    Pair([first.start(), second.start_with(Some(gateway))])
}

/// Starts the second gateway again, with another clock.
fn set_clock(pair: &mut Pair, by: &str) {
    let site = &mut pair.0[1];
    let gateway = site.gateway.take().expect("it runs");
    assert!(gateway.stop().success());
    site.gateway = Some(start_wrong(&site.layout, by));
}

#[test]
fn an_allowance_grows_by_the_databases_clock() {
    let server = Postgresql::start();
    let mut pair = start_both(laid_out(&server), AHEAD);
    let [first, second] = &pair.0;
    assert_eq!(outcome(&pair, BOB, [first, second]), expected());
    set_clock(&mut pair, BEHIND);
    let [first, second] = &pair.0;
    assert_eq!(outcome(&pair, CAROL, [first, second]), expected());
}

#[test]
fn a_lease_lasts_by_the_databases_clock() {
    let server = Postgresql::start();
    // A lease lasts two minutes here.
    let mut pair = start_both(Layouts::on(&server.settings()), AHEAD);
    pair.allow_trouble();
    let asked = Asked::default();
    for by in [AHEAD, BEHIND] {
        set_clock(&mut pair, by);
        stopping_at(FaultPoint::AfterLease, &mut pair);
        let (stopped, other) = (pair.gateway(0), pair.gateway(1));
        let held = help(&address(0), by);
        let before = Log::of(&pair).count("completed");
        other.hang();
        thread::scope(|scope| {
            scope.spawn(|| send(&pair, 0, &held));
            stopped.wait_until_stopped();
            other.signal(Signal::CONT);
            for number in 1..4 {
                let draft = help(&address(number), by);
                send(&pair, 1, &draft);
                asked.add(draft);
            }
            // The other one looks for work before each of them.
            until("the others are done", PATIENCE, || {
                (Log::of(&pair).count("completed") >= before + 3).then_some(())
            });
            assert_eq!(Log::of(&pair).count("completed"), before + 3);
            stopped.signal(Signal::CONT);
        });
        asked.add(held);
        until("it is done", PATIENCE, || {
            (Log::of(&pair).count("completed") == before + 4).then_some(())
        });
    }
    asked.assert_answered_once(&pair);
    let log = Log::of(&pair);
    assert!(log.entries("completed").all(|entry| entry["attempts"] == 1));
}

#[test]
fn requests_are_fresh_and_in_order_by_the_databases_clock() {
    let server = Postgresql::start();
    let mut pair = start_both(Layouts::impatient(&server.settings()), AHEAD);
    let vendor = Vendor::new(&pair, "SM1");
    let asked = Asked::default();
    for by in [AHEAD, BEHIND] {
        set_clock(&mut pair, by);
        for number in 0..10 {
            // A request may be five minutes ahead at most.
            let draft = vendor.request(&address(0), &format!("{by} {number}"));
            send(&pair, number, &draft);
            asked.add(draft);
        }
    }
    assert_eq!(asked.assert_answered_once(&pair), 0);
    let log = Log::of(&pair);
    assert_eq!(log.requests("accepted"), log.requests("completed"));
    let times = log.times();
    let is_back = |pair: &[Timestamp]| pair[1].duration_since(pair[0]) < -ABOUT;
    assert!(!times.windows(2).any(is_back), "{times:?}");
}
