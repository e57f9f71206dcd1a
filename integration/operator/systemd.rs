//! Notifications to systemd, over the very kind of socket that it listens on: the
//! gateway is ready, reloads, stops, its status, and that it is well. A gateway
//! that isn't well must not send the last.

use std::{
    fs,
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};

use crate::harness::{Gateway, House, Layout, Lock, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// After which time of silence systemd would restart the gateway.
const WATCHDOG: Duration = Duration::from_secs(1);

/// A message that systemd got: its lines.
type Notification = Vec<String>;

/// The socket that systemd has for a service.
struct NotifySocket(UnixDatagram);

impl NotifySocket {
    fn new(layout: &Layout) -> Self {
        let path = layout.directory().join("notify");
        let socket = UnixDatagram::bind(path).expect("a socket");
        Self(socket)
    }

    /// The next message, if one comes in time.
    fn next(&self, limit: Duration) -> Option<Notification> {
        self.0.set_read_timeout(Some(limit)).expect("a time limit");
        let mut bytes = vec![0; 8192];
        match self.0.recv(&mut bytes) {
            Ok(length) => {
                let text = String::from_utf8(bytes[..length].to_vec()).expect("UTF-8");
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for a message with a line that begins so.
    fn wait_for(&self, beginning: &str) -> Notification {
        let deadline = Instant::now() + PATIENCE;
        while let Some(notified) = self.next(PATIENCE) {
            if line(&notified, beginning).is_some() {
                return notified;
            }
            assert!(Instant::now() < deadline, "no {beginning}");
        }
        panic!("no {beginning}");
    }

    /// Listens for so long.
    fn listen(&self, lasting: Duration) -> Heard {
        self.listen_until(lasting, |_| false)
    }

    /// Listens for so long, or until a status is the one that is waited for.
    fn listen_until(&self, limit: Duration, is_awaited: impl Fn(&str) -> bool) -> Heard {
        let begin = Instant::now();
        let (mut beats, mut longest, mut last) = (0, Duration::ZERO, begin);
        let mut status = String::new();
        while let Some(left) = limit.checked_sub(begin.elapsed()) {
            let Some(notified) = self.next(left.max(Duration::from_millis(1))) else {
                break;
            };
            if line(&notified, "WATCHDOG=1").is_some() {
                beats += 1;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            status = line(&notified, "STATUS=").map_or(status, str::to_owned);
            if is_awaited(&status) {
                break;
            }
        }
        Heard {
            beats,
            longest: longest.max(last.elapsed()),
            status,
        }
    }
}

/// The notifications of a time.
#[derive(Debug)]
struct Heard {
    /// How often the gateway said that all is well.
    beats: usize,
    /// The longest time between.
    longest: Duration,
    /// The last status; empty if there was none.
    status: String,
}

fn line<'a>(notification: &'a Notification, beginning: &str) -> Option<&'a str> {
    notification
        .iter()
        .map(String::as_str)
        .find(|line| line.starts_with(beginning))
}

/// As systemd starts it, with or without `WatchdogSec=`.
fn start(layout: &Layout, with_watchdog: bool) -> Gateway {
    let socket = layout.directory().join("notify");
    let socket = format!("NOTIFY_SOCKET={}", socket.display());
    let watchdog = format!("WATCHDOG_USEC={}", WATCHDOG.as_micros());
    match with_watchdog {
        true => layout.start_gateway_by(&["env", &socket, &watchdog]),
        false => layout.start_gateway_by(&["env", &socket]),
    }
}

fn watched(layout: Layout) -> House {
    let gateway = start(&layout, true);
    House::with(layout, gateway)
}

fn monotonic_microseconds() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
fn ready_reloading_and_stopping_are_told() {
    let layout = House::layout();
    let systemd = NotifySocket::new(&layout);
    let gateway = start(&layout, false);
    let ready = systemd.wait_for("READY=1");
    assert_eq!(line(&ready, "STATUS="), Some("STATUS=Serving."));

    let before = monotonic_microseconds();
    gateway.signal(Signal::HUP);
    let reloading = systemd.wait_for("RELOADING=1");
    let time = line(&reloading, "MONOTONIC_USEC=").expect("in the same message");
    let time: i64 = time["MONOTONIC_USEC=".len()..].parse().expect("a number");
    assert!(
        (before..=monotonic_microseconds()).contains(&time),
        "{time}"
    );
    systemd.wait_for("READY=1");

    // A reload that failed ends too, and says so.
    let path = layout.config();
    let good = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, good.replace("keep_bcc", "keep_bbc")).expect("the configuration");
    gateway.signal(Signal::HUP);
    systemd.wait_for("RELOADING=1");
    let ready = systemd.wait_for("READY=1");
    let status = line(&ready, "STATUS=").expect("a status");
    assert!(status.contains("old configuration is in force"), "{status}");
    assert!(status.contains("keep_bbc"), "{status}");
    fs::write(&path, good).expect("the configuration");
    gateway.signal(Signal::HUP);
    systemd.wait_for("RELOADING=1");
    let ready = systemd.wait_for("READY=1");
    assert_eq!(line(&ready, "STATUS="), Some("STATUS=Serving."));

    assert!(gateway.stop().success());
    let stopping = systemd.wait_for("STOPPING=1");
    assert!(line(&stopping, "STATUS=Stopping").is_some(), "{stopping:?}");
}

#[test]
fn a_systemd_that_does_not_listen_stops_nothing() {
    // Beyond what waits here and in the socket (net.unix.max_dgram_qlen).
    const RELOADS: usize = 150;
    let layout = House::layout();
    let systemd = NotifySocket::new(&layout);
    let gateway = start(&layout, false);
    for number in 1..=RELOADS {
        gateway.signal(Signal::HUP);
        until("the reload", PATIENCE, || {
            let reloads = gateway.log().matches("configuration reloaded").count();
            (reloads >= number).then_some(())
        });
    }
    gateway.wait_for_log("systemd not notified: it does not listen");
    let house = House::with(layout, gateway);
    house.serves();
    assert!(house.gateway.stop().success());
    let notified = systemd.wait_for("READY=1");
    assert_eq!(line(&notified, "STATUS="), Some("STATUS=Serving."));
}

#[test]
fn a_well_gateway_says_so_at_half_of_the_time_and_a_hung_one_does_not() {
    let layout = House::layout();
    let systemd = NotifySocket::new(&layout);
    let house = watched(layout);
    systemd.wait_for("WATCHDOG=1");
    let heard = systemd.listen(4 * WATCHDOG);
    println!("in 4 s: {heard:?}");
    assert!(heard.beats >= 7 && heard.longest < WATCHDOG, "{heard:?}");
    assert!(
        heard.status.contains("requests to be answered"),
        "{heard:?}"
    );

    house.gateway.hang();
    // Notifications that were sent before.
    systemd.listen(WATCHDOG / 10);
    assert_eq!(systemd.listen(3 * WATCHDOG).beats, 0);
    house.gateway.signal(Signal::CONT);
    systemd.wait_for("WATCHDOG=1");
}

#[test]
fn while_it_drains_it_is_well() {
    let layout = House::layout();
    let systemd = NotifySocket::new(&layout);
    let house = watched(layout);
    let mut session = house.session_at_content();
    house.gateway.signal(Signal::TERM);
    systemd.wait_for("STOPPING=1");
    let heard = systemd.listen(3 * WATCHDOG);
    assert!(heard.beats >= 5 && heard.longest < WATCHDOG, "{heard:?}");
    session.content([("Subject", "{KMS:Help}")], b"please\r\n");
    session.end();
    assert!(house.gateway.wait_for_end().success());
}

#[test]
fn a_locked_store_is_trouble_and_no_reason_for_a_restart() {
    let layout = House::layout();
    let systemd = NotifySocket::new(&layout);
    let gateway = start(&layout, true);
    systemd.wait_for("WATCHDOG=1");
    let lock = Lock::hold(&layout);
    // A change waits 10 s for the lock, perhaps behind another, then it is given up.
    let in_trouble = |status: &str| status.contains("store is in trouble");
    let heard = systemd.listen_until(PATIENCE, in_trouble);
    println!("{heard:?}");
    assert!(in_trouble(&heard.status), "{heard:?}");
    assert!(heard.status.contains("gateway.sqlite3"), "{heard:?}");
    assert!(heard.longest < WATCHDOG, "{heard:?}");
    // It stays so, and keeps saying so.
    let heard = systemd.listen(3 * WATCHDOG);
    assert!(in_trouble(&heard.status), "{heard:?}");
    assert!(heard.beats >= 5 && heard.longest < WATCHDOG, "{heard:?}");
    drop(lock);
    systemd.wait_for("STATUS=Serving; ");
    assert!(gateway.stop().success());
}
