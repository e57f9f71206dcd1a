//! The same message handed to both sites at once, as a mail server does that lost the answer of
//! the first: it is answered once.

use std::{sync::Barrier, thread};

use crate::{
    harness::Postgresql,
    log::Log,
    requests::{Asked, address, help, offer},
    sites::Layouts,
};

const MESSAGES: usize = 20;

#[test]
fn one_message_to_both_is_answered_once() {
    let server = Postgresql::start();
    let pair = Layouts::on(&server.settings()).start();
    let asked = Asked::default();
    for number in 0..MESSAGES {
        asked.add(help(&address(number), &format!("copies {number}")));
    }
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for site in &pair.0 {
            let (both, drafts) = (&both, asked.drafts());
            scope.spawn(move || {
                for draft in drafts {
                    both.wait();
                    let taken = offer(site, &draft);
                    assert_eq!(taken.code, 250, "{taken:?}");
                }
            });
        }
    });
    assert_eq!(asked.assert_answered_once(&pair), 0, "answered twice");
    assert_eq!(Log::of(&pair).count("duplicate"), MESSAGES);
}
