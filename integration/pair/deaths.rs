//! Both gateways killed, at each place where it counts and at any other, and the server too, while
//! requests come: each request that was accepted has one result, and its reply arrives, the same
//! bytes if it does so twice.

use std::{
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use kms_gateway::faults::{FaultPoint, VARIABLE};

use crate::{
    harness::{DATABASE, Gateway, Postgresql, Site, until},
    log::Log,
    requests::{Asked, PATIENCE, Vendor, address, help, offer, send},
    sites::{Layouts, Pair},
};

const REQUESTS: usize = 500;
const SENDERS: usize = 4;

/// One request of so many is for a key load file.
const KEY_LOAD_FILE_EVERY: usize = 5;

/// Deaths of both gateways at any moment. Besides, each fault point has one.
const KILLS: usize = 25;

const KILLS_OF_THE_SERVER: usize = 10;

const DEATHS: usize = KILLS + FaultPoint::ALL.len() + KILLS_OF_THE_SERVER;

/// The time from one death to the next ends in the middle of anything.
const LIFE: std::ops::Range<u64> = 20..400;

/// Pause between requests to a gateway that is to die of one.
const PAUSE: Duration = Duration::from_millis(20);

/// One end of a gateway.
enum Death {
    AtAnyMoment,
    At(FaultPoint),
}

/// The state that all threads share.
struct World<'a> {
    pair: &'a Pair,
    asked: Asked,
    deaths: AtomicUsize,
}

#[test]
fn killed_again_and_again_they_answer_each_request_once() {
    let mut server = Postgresql::start();
    let mut pair = Layouts::impatient(&server.settings()).start();
    let vendor = Vendor::new(&pair, "SM1");
    let gateways = pair.take_gateways();
    let world = &World {
        pair: &pair,
        asked: Asked::default(),
        deaths: AtomicUsize::new(0),
    };
    let begun = Instant::now();
    let last: Vec<Gateway> = thread::scope(|scope| {
        for sender in 0..SENDERS {
            let vendor = &vendor;
            scope.spawn(move || world.ask(sender, vendor));
        }
        scope.spawn(|| world.kill_server(&mut server));
        let kill = |(number, gateway)| scope.spawn(move || world.kill_gateways(number, gateway));
        let killed: Vec<_> = (0..).zip(gateways).map(kill).collect();
        let last = killed.into_iter().map(|thread| thread.join());
        last.map(|gateway| gateway.expect("its last life"))
            .collect()
    });
    let died = begun.elapsed();
    let twice = world.asked.assert_answered_once(&pair);
    assert_sound(&server);
    println!(
        "{DEATHS} deaths and {} requests within {died:.1?}; {} messages and {twice} replies came \
         twice; all at rest after {:.1?}",
        world.asked.count(),
        Log::of(&pair).count("duplicate"),
        begun.elapsed(),
    );
    pair.put_gateways(last);
}

/// Counts rows: one that was committed twice would be there twice, and one that is gone would still be
/// counted in the use of the spool.
fn assert_sound(server: &Postgresql) {
    let ask = |columns| server.sql(DATABASE, &format!("SELECT {columns}"));
    let issued = REQUESTS.div_ceil(KEY_LOAD_FILE_EVERY);
    assert_eq!(ask("count(*) FROM klf_issues"), format!("{issued}\n"));
    assert_eq!(ask("requests, replies, bytes FROM spool_usage"), "0|0|0\n");
    assert_eq!(ask("count(*) FROM spool_shares WHERE messages != 0"), "0\n");
}

impl World<'_> {
    /// Sends one sender's part, as much between any two deaths.
    fn ask(&self, sender: usize, vendor: &Vendor) {
        for number in (sender..REQUESTS).step_by(SENDERS) {
            until("the next death", PATIENCE, || {
                let allowed = (self.deaths.load(Ordering::Relaxed) + 1) * REQUESTS / DEATHS;
                (number < allowed).then_some(())
            });
            let (from, words) = (address(number), format!("request {number}"));
            let draft = match number % KEY_LOAD_FILE_EVERY {
                0 => vendor.request(&from, &words),
                _ => help(&from, &words),
            };
            send(self.pair, number / SENDERS, &draft);
            self.asked.add(draft);
        }
    }

    fn kill_server(&self, server: &mut Postgresql) {
        let mut random = Rng::new();
        for _ in 0..KILLS_OF_THE_SERVER {
            thread::sleep(Duration::from_millis(random.u64(LIFE) * 3));
            server.kill();
            self.deaths.fetch_add(1, Ordering::Relaxed);
            server.launch();
        }
    }

    /// Ends the gateway of one site in its part of all ways. Returns its last life.
    fn kill_gateways(&self, number: usize, mut gateway: Gateway) -> Gateway {
        let mut random = Rng::new();
        let points = FaultPoint::ALL.into_iter().map(Death::At);
        let kills = (0..KILLS).map(|_| Death::AtAnyMoment);
        let own = |(place, death)| (place % 2 == number).then_some(death);
        let mut deaths: Vec<Death> = points.chain(kills).enumerate().filter_map(own).collect();
        random.shuffle(&mut deaths);
        let site = &self.pair.0[number];
        for death in deaths {
            match death {
                Death::AtAnyMoment => {
                    thread::sleep(Duration::from_millis(random.u64(LIFE)));
                    gateway.kill();
                }
                Death::At(point) => {
                    gateway.kill();
                    self.die_at(point, site);
                }
            }
            self.deaths.fetch_add(1, Ordering::Relaxed);
            gateway = kept_running(site, &["env"]).expect("no reason to die");
        }
        gateway
    }

    /// Starts a gateway that dies at this point, and sends it requests until it has.
    fn die_at(&self, point: FaultPoint, site: &Site) {
        let doom = format!("{VARIABLE}={point:?}:{}", deadly_passing(point));
        let ended = match kept_running(site, &["env", &doom]) {
            Ok(doomed) => self.ask_until_dead(point, doomed, site),
            Err(ended) => ended,
        };
        assert_eq!(ended.signal(), Some(9), "{point:?}");
    }

    fn ask_until_dead(&self, point: FaultPoint, mut doomed: Gateway, site: &Site) -> ExitStatus {
        let started = Instant::now();
        let mut number = 0;
        loop {
            number += 1;
            let draft = help(&address(number), &format!("{point:?} {number}"));
            while offer(site, &draft).code != 250 {
                // The server is away.
                assert!(started.elapsed() < PATIENCE, "{point:?}: not taken");
                thread::sleep(PAUSE);
            }
            self.asked.add(draft);
            assert!(started.elapsed() < PATIENCE, "{point:?}: not reached");
            thread::sleep(PAUSE);
            if let Some(ended) = doomed.ended() {
                return ended;
            }
        }
    }
}

/// Starts a gateway until one listens, as systemd does: where the server is away it ends by
/// itself. Gives how it ended if it was killed before.
fn kept_running(site: &Site, launcher: &[&str]) -> Result<Gateway, ExitStatus> {
    until("the gateway listens", PATIENCE, || {
        let mut gateway = site.layout.spawn_gateway_by(launcher);
        let ended = until("the gateway listens or ends", PATIENCE, || {
            let listens = || std::net::TcpStream::connect(site.layout.port(8890)).is_ok();
            match gateway.ended() {
                None => listens().then_some(None),
                ended => Some(ended),
            }
        });
        match ended {
            None => Some(Ok(gateway)),
            Some(ended) if ended.signal().is_some() => Some(Err(ended)),
            Some(_) => None,
        }
    })
}

/// At which passing of it the gateway dies: with one before and one after it.
fn deadly_passing(point: FaultPoint) -> u32 {
    match point {
        // Each of two workers looks for requests when it starts.
        FaultPoint::BeforeLease => 4,
        _ => 2,
    }
}
