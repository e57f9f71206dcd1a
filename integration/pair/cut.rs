//! Connections to the server that are cut, at a commit and for a time: a message whose fate is
//! unknown to the gateway is refused, and one that was kept even so is recognised.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    harness::{Draft, Postgresql, Site, until},
    log::Log,
    requests::{Asked, PATIENCE, address, help, offer, send, send_beside_a_transaction},
    sites::{Layouts, Pair},
    wire::{Fate, Wire},
};

/// Statements of the transactions that keep a request, its result and its delivery.
const ACCEPTANCE: &str = "INSERT INTO requests";
const COMPLETION: &str = "INSERT INTO replies";
const DELIVERY: &str = "DELETE FROM deliveries";

/// Pause between requests until one has the planned fate.
const PAUSE: Duration = Duration::from_millis(100);

/// The second gateway goes by a wire.
fn wired(server: &Postgresql) -> (Pair, Wire) {
    let layouts = Layouts::impatient(&server.settings());
    let wire = Wire::to(server);
    let mut postgresql = server.settings();
    let path = wire.path().to_str().expect("a path in UTF-8").to_owned();
    postgresql.insert("hosts".to_owned(), vec![path].into());
    layouts.0[1].set_gateway("store", "postgresql", postgresql);
    let mut pair = layouts.start();
    pair.allow_trouble();
    (pair, wire)
}

/// Hands over a message, which the gateway cannot keep.
fn refused(site: &Site, draft: &Draft) {
    let begun = Instant::now();
    let refused = offer(site, draft);
    assert!(refused.text.starts_with("451 4.3.0"), "{refused:?}");
    println!("refused after {:.1?}", begun.elapsed());
}

#[test]
fn a_request_whose_commit_is_unknown_is_refused_and_recognised() {
    let server = Postgresql::start();
    let (pair, wire) = wired(&server);
    let asked = Asked::default();
    for (fate, known) in [(Fate::Lost, 0), (Fate::AnswerLost, 1)] {
        wire.plan(fate, ACCEPTANCE);
        let draft = help(&address(0), &format!("{fate:?}"));
        refused(&pair.0[1], &draft);
        assert!(wire.has_happened());
        let taken = offer(&pair.0[1], &draft);
        assert_eq!(taken.code, 250, "{taken:?}");
        assert_eq!(Log::of(&pair).count("duplicate"), known, "{fate:?}");
        asked.add(draft);
    }
    assert_eq!(asked.assert_answered_once(&pair), 0);
}

#[test]
fn a_result_whose_commit_is_unknown_is_not_written_twice() {
    let server = Postgresql::start();
    let (pair, wire) = wired(&server);
    let asked = Asked::default();
    for statement in [COMPLETION, DELIVERY] {
        for fate in [Fate::Lost, Fate::AnswerLost] {
            wire.plan(fate, statement);
            let begun = Instant::now();
            // The other gateway may take one.
            while !wire.has_happened() {
                assert!(begun.elapsed() < PATIENCE, "{statement}: {fate:?}");
                let draft = help(&address(0), &format!("{fate:?} {}", asked.count()));
                send(&pair, 1, &draft);
                asked.add(draft);
                thread::sleep(PAUSE);
            }
        }
    }
    let twice = asked.assert_answered_once(&pair);
    println!("{} requests, {twice} replies came twice", asked.count());
}

#[test]
fn a_gateway_that_is_cut_off_holds_nobody_up_for_long() {
    let server = Postgresql::start();
    let (pair, wire) = wired(&server);
    let asked = Asked::default();
    let second = &pair.0[1];
    // In its transaction it holds the lock that all need.
    wire.plan(Fate::Cut, ACCEPTANCE);
    let cut_off = help(&address(0), "cut off");
    let other = help(&address(1), "other");
    thread::scope(|scope| {
        scope.spawn(|| refused(second, &cut_off));
        until("the wire is cut", PATIENCE, || {
            wire.has_happened().then_some(())
        });
        send_beside_a_transaction(&pair.0[0], &other);
    });
    let later = help(&address(2), "later");
    refused(second, &later);
    let begun = Instant::now();
    wire.mend();
    for draft in [cut_off, later] {
        send(&pair, 1, &draft);
        asked.add(draft);
    }
    println!("taken {:.1?} after the end of the cut", begun.elapsed());
    asked.add(other);
    assert_eq!(asked.assert_answered_once(&pair), 0);
}
