//! The server dies under load, and its synchronous standby is promoted: the gateways go on there.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    harness::{Postgresql, until},
    requests::{Asked, PATIENCE, address, help, offer, send},
    sites::{Layouts, Pair},
};

const REQUESTS: usize = 120;
const SENDERS: usize = 4;

/// So many are taken before the server dies.
const BEFORE: usize = 40;

/// Pause of a sender whose message nobody takes.
const PAUSE: Duration = Duration::from_millis(50);

/// Sites on these servers.
fn laid_out(primary: &Postgresql, standby: &Postgresql) -> Layouts {
    let path = |server: &Postgresql| server.socket().to_str().expect("UTF-8").to_owned();
    let hosts = [primary, standby].map(|server| toml::Value::from(path(server)));
    let mut postgresql = primary.settings();
    postgresql.insert("hosts".to_owned(), hosts.to_vec().into());
    Layouts::impatient(&postgresql)
}

#[test]
fn without_its_standby_the_server_keeps_nothing() {
    let primary = Postgresql::start();
    let mut standby = primary.standby();
    let mut pair = laid_out(&primary, &standby).start();
    pair.allow_trouble();
    standby.kill();
    let draft = help(&address(0), "alone");
    let begun = Instant::now();
    let refused = offer(&pair.0[0], &draft);
    assert!(refused.text.starts_with("451 4.3.0"), "{refused:?}");
    println!("refused after {:.1?}", begun.elapsed());
    standby.launch();
    send(&pair, 0, &draft);
    let asked = Asked::default();
    asked.add(draft);
    assert_eq!(asked.assert_answered_once(&pair), 0);
}

#[test]
fn no_request_is_lost_or_doubled_when_the_standby_takes_over() {
    let mut primary = Postgresql::start();
    let standby = primary.standby();
    let mut pair = laid_out(&primary, &standby).start();
    pair.allow_trouble();
    let processes = [0, 1].map(|number| pair.gateway(number).id());
    let asked = Asked::default();
    let refused = AtomicUsize::new(0);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (pair, asked, refused) = (&pair, &asked, &refused);
            scope.spawn(move || ask(sender, pair, asked, refused));
        }
        until("the first are taken", PATIENCE, || {
            (asked.count() >= BEFORE).then_some(())
        });
        primary.kill();
        let died = Instant::now();
        let refused_before = refused.load(Ordering::Relaxed);
        until("nobody takes requests", PATIENCE, || {
            (refused.load(Ordering::Relaxed) >= refused_before + SENDERS).then_some(())
        });
        let taken = asked.count();
        standby.promote();
        until("requests are taken again", PATIENCE, || {
            (asked.count() > taken + SENDERS).then_some(())
        });
        println!("taken again {:.1?} after the death", died.elapsed());
    });
    asked.assert_answered_once(&pair);
    assert_eq!(processes, [0, 1].map(|number| pair.gateway(number).id()));
    println!(
        "{} requests answered, each once; {} times one had to be offered again",
        asked.count(),
        refused.into_inner()
    );
}

/// Sends one sender's part, each request to one site after the other until one takes it.
fn ask(sender: usize, pair: &Pair, asked: &Asked, refused: &AtomicUsize) {
    for number in (sender..REQUESTS).step_by(SENDERS) {
        let draft = help(&address(number), &format!("request {number}"));
        let begun = Instant::now();
        for attempt in number / SENDERS.. {
            let taken = offer(&pair.0[attempt % 2], &draft);
            if taken.code == 250 {
                break;
            }
            assert!(taken.text.starts_with("451 4.3.0"), "{taken:?}");
            assert!(begun.elapsed() < PATIENCE, "nobody takes it: {taken:?}");
            refused.fetch_add(1, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
        asked.add(draft);
    }
}
