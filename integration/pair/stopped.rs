//! A gateway that stops in the midst of its work, and wakes when the other has done that work or
//! has waited for it: what it still had to write is not written.

use std::thread;

use kms_gateway::faults::{FaultPoint, VARIABLE};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{Postgresql, until},
    log::Log,
    requests::{Asked, PATIENCE, address, help, offer, send, send_beside_a_transaction},
    sites::{Layouts, NODES, Pair},
};

/// With the lease of a request, and no result written.
const ANSWERING: [FaultPoint; 4] = [
    FaultPoint::AfterLease,
    FaultPoint::BeforeIssue,
    FaultPoint::AfterIssue,
    // In the transaction. The other one waits until the server ends it.
    FaultPoint::BeforeCompletionCommit,
];

/// With the lease of a reply, which is not noted.
const DELIVERING: [FaultPoint; 3] = [
    FaultPoint::AfterRecipient,
    FaultPoint::AfterFinalDot,
    FaultPoint::BeforeNote,
];

/// Has the first gateway stop when it passes the point.
pub fn stopping_at(point: FaultPoint, pair: &mut Pair) {
    let site = &mut pair.0[0];
    site.gateway.take().expect("it runs").kill();
    let stop = format!("{VARIABLE}={point:?}:1:stop");
    site.gateway = Some(site.layout.start_gateway_by(&["env", &stop]));
}

/// Has the first gateway stop with a request or its reply, and wakes it after the second has
/// brought about this event. Waits until the first logs one of these texts once more.
fn overtake(point: FaultPoint, event: &str, finds_out: &[&str], pair: &mut Pair, asked: &Asked) {
    stopping_at(point, pair);
    let (stopping, other) = (pair.gateway(0), pair.gateway(1));
    let before = Log::of(pair).count(event);
    let draft = help(&address(0), &format!("{point:?}"));
    other.hang();
    thread::scope(|scope| {
        // It may stop before it answers.
        scope.spawn(|| send(pair, 0, &draft));
        stopping.wait_until_stopped();
        other.signal(Signal::CONT);
        until("the other one does it", PATIENCE, || {
            (Log::of(pair).count(event) > before).then_some(())
        });
        stopping.signal(Signal::CONT);
    });
    asked.add(draft);
    until("it finds out", PATIENCE, || {
        let log = stopping.log();
        let found = finds_out.iter().map(|text| log.matches(text).count());
        (found.sum::<usize>() >= asked.count()).then_some(())
    });
}

#[test]
fn a_result_that_comes_too_late_is_not_written() {
    let server = Postgresql::start();
    let mut pair = Layouts::impatient(&server.settings()).start();
    pair.allow_trouble();
    let asked = Asked::default();
    // Either the lease is lost, or the connection with the transaction.
    let finds_out = ["another worker has this request", "the store is in trouble"];
    for point in ANSWERING {
        overtake(point, "completed", &finds_out, &mut pair, &asked);
    }
    asked.assert_answered_once(&pair);
    let of_other = |entry: &Value| entry["node"] == NODES[1];
    assert!(Log::of(&pair).entries("completed").all(of_other));
}

#[test]
fn a_reply_that_was_delivered_meanwhile_comes_twice_with_the_same_bytes() {
    let server = Postgresql::start();
    let mut pair = Layouts::impatient(&server.settings()).start();
    pair.allow_trouble();
    let asked = Asked::default();
    let finds_out = ["delivery had ended before"];
    for point in DELIVERING {
        overtake(point, "delivered", &finds_out, &mut pair, &asked);
    }
    assert_eq!(asked.assert_answered_once(&pair), DELIVERING.len());
}

#[test]
fn a_request_that_is_not_yet_kept_holds_nobody_up_for_long() {
    let server = Postgresql::start();
    let mut pair = Layouts::impatient(&server.settings()).start();
    pair.allow_trouble();
    stopping_at(FaultPoint::BeforeSpoolCommit, &mut pair);
    let asked = Asked::default();
    let held = help(&address(0), "held");
    let other = help(&address(1), "other");
    thread::scope(|scope| {
        let refused = scope.spawn(|| offer(&pair.0[0], &held));
        pair.gateway(0).wait_until_stopped();
        send_beside_a_transaction(&pair.0[1], &other);
        pair.gateway(0).signal(Signal::CONT);
        let refused = refused.join().expect("an answer");
        assert!(refused.text.starts_with("451 4.3.0"), "{refused:?}");
    });
    send(&pair, 0, &held);
    asked.add(held);
    asked.add(other);
    assert_eq!(asked.assert_answered_once(&pair), 0);
    assert_eq!(Log::of(&pair).count("duplicate"), 0);
}
