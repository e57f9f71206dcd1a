//! A sender's requests meet one allowance, whichever site they come to.

use std::{collections::BTreeMap, thread};

use serde_json::Value;

use crate::{
    harness::{ALICE, BOB, Postgresql, Site, until},
    requests::{PATIENCE, help, offer},
    sites::{Layouts, Pair},
};

/// So many of a sender's requests are answered at once. The next wait, and all others are ignored.
const ANSWERED: usize = 8;
const WAITING: usize = 10;
const IGNORED: usize = 7;

/// The fates of a sender's requests, each with its number of requests.
pub type Outcome = BTreeMap<String, usize>;

#[test]
fn requests_to_both_meet_one_allowance() {
    let server = Postgresql::start();
    let pair = laid_out(&server).start();
    let [first, second] = &pair.0;
    assert_eq!(outcome(&pair, ALICE, [first, first]), expected());
    assert_eq!(outcome(&pair, BOB, [first, second]), expected());
}

/// Sites with a small allowance.
pub fn laid_out(server: &Postgresql) -> Layouts {
    let layouts = Layouts::on(&server.settings());
    layouts.set("throttle", "at_once", ANSWERED as i64);
    layouts.set("throttle", "block_above", (ANSWERED + WAITING - 1) as i64);
    // Nobody's turn comes while a test runs.
    layouts.set("throttle", "every", "5min");
    layouts
}

/// The outcome by one allowance.
pub fn expected() -> Outcome {
    let expected = [
        ("judged request", ANSWERED),
        ("judged flood", WAITING - 1),
        // The one that leads to the block waits, and has the notice.
        ("judged blocked", 1 + IGNORED),
        ("mail with Success", ANSWERED),
        ("mail with Notice Deferred", 1),
        ("mail with Notice Blocked", 1),
    ];
    Outcome::from(expected.map(|(what, count)| (what.to_owned(), count)))
}

/// Sends the requests of one sender, half to each of these sites, at once.
pub fn outcome(pair: &Pair, from: &str, sites: [&Site; 2]) -> Outcome {
    let all = ANSWERED + WAITING + IGNORED;
    let waiting = waiting(pair) + WAITING;
    let before = [0, 1].map(|number| pair.gateway(number).rules().len());
    thread::scope(|scope| {
        for (half, site) in sites.into_iter().enumerate() {
            scope.spawn(move || {
                for number in (half..all).step_by(2) {
                    let taken = offer(site, &help(from, &number.to_string()));
                    assert_eq!(taken.code, 250, "{taken:?}");
                }
            });
        }
    });
    until("only those that wait are left", PATIENCE, || {
        (self::waiting(pair) == waiting).then_some(())
    });
    pair.deliver_all();
    let mut outcome = Outcome::new();
    for rule in judged(pair, all, before) {
        *outcome.entry(format!("judged {rule}")).or_default() += 1;
    }
    for mail in pair.mails(from) {
        let result = mail.result();
        let shown = match result[0].as_str() {
            "Notice" => result[..2].join(" "),
            other => other.to_owned(),
        };
        *outcome.entry(format!("mail with {shown}")).or_default() += 1;
    }
    outcome
}

/// How each of so many messages was judged, after these that each gateway had judged before.
fn judged(pair: &Pair, count: usize, before: [usize; 2]) -> Vec<String> {
    let of_gateway = |number: usize| pair.gateway(number).rules().split_off(before[number]);
    until("a line of each message", PATIENCE, || {
        let judged: Vec<String> = [0, 1].into_iter().flat_map(of_gateway).collect();
        (judged.len() == count).then_some(judged)
    })
}

/// Requests and replies in the spool.
fn waiting(pair: &Pair) -> usize {
    let listed = pair.command(&["queue", "list", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).expect("an array");
    listed.len()
}
