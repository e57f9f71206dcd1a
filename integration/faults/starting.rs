//! Signals while the gateway starts: from the moment that it takes them, which
//! is before it reads anything, none kills it.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{House, Layout, kms_gateway, run, until};

/// A loaded machine may need this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that starts. It ends when this value is dropped.
struct Starting(Child);

impl Starting {
    /// Returns as soon as it takes signals.
    fn new(config: &Path, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log);
        let mut serve = kms_gateway(config, &["serve"]);
        let serve = serve.stdin(Stdio::null()).stderr(log.expect("a log"));
        let mut starting = Self(serve.spawn().expect("it runs"));
        until("it takes signals", PATIENCE, || {
            assert_eq!(starting.0.try_wait().expect("its state"), None);
            starting.catches(Signal::HUP).then_some(())
        });
        starting
    }

    fn catches(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.expect("its status");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16);
        caught.expect("hexadecimal digits") >> (signal.as_raw() - 1) & 1 == 1
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).expect("an id");
        kill_process(Pid::from_raw(id).expect("an id"), signal).expect("it runs");
    }

    /// Its exit code; none if a signal killed it.
    fn end(mut self) -> Option<i32> {
        let ended = until("its end", PATIENCE, || self.0.try_wait().expect("it"));
        ended.code()
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A configuration that is there when the test writes it.
struct SlowConfiguration {
    layout: Layout,
    text: String,
}

impl SlowConfiguration {
    fn new() -> Self {
        let layout = House::layout();
        let text = fs::read_to_string(layout.config()).expect("the configuration");
        fs::remove_file(layout.config()).expect("the configuration");
        run(Command::new("mkfifo").arg(layout.config()), b"");
        Self { layout, text }
    }

    fn start(&self) -> Starting {
        Starting::new(&self.layout.config(), &self.log())
    }

    /// Waits for somebody who reads it.
    fn write(&self) {
        fs::write(self.layout.config(), &self.text).expect("somebody reads it");
    }

    fn log(&self) -> std::path::PathBuf {
        self.layout.directory().join("gateway/serve.log")
    }

    fn wait_for_log(&self, text: &str) {
        until(text, PATIENCE, || {
            let log = fs::read_to_string(self.log()).expect("the log");
            log.contains(text).then_some(())
        });
    }
}

#[test]
fn a_reload_that_is_asked_for_before_the_configuration_is_read_comes_after_the_start() {
    let slow = SlowConfiguration::new();
    let starting = slow.start();
    starting.signal(Signal::HUP);
    slow.write();
    slow.wait_for_log("serving");
    slow.write();
    slow.wait_for_log("configuration reloaded");
    starting.signal(Signal::TERM);
    assert_eq!(starting.end(), Some(0));
}

#[test]
fn an_end_that_is_asked_for_before_the_configuration_is_read_comes_at_once() {
    let slow = SlowConfiguration::new();
    for signal in [Signal::TERM, Signal::INT] {
        let starting = slow.start();
        starting.signal(signal);
        assert_eq!(starting.end(), Some(0));
    }
}

#[test]
fn signals_at_any_moment_of_the_start_are_heeded_and_kill_nothing() {
    const STARTS: u64 = 40;
    let layout = House::layout();
    let log = layout.directory().join("gateway/serve.log");
    let moment = || thread::sleep(Duration::from_micros(fastrand::u64(..100_000)));
    for _ in 0..STARTS {
        let starting = Starting::new(&layout.config(), &log);
        moment();
        starting.signal(Signal::HUP);
        moment();
        starting.signal(Signal::TERM);
        assert_eq!(starting.end(), Some(0));
    }
    let log = fs::read_to_string(&log).expect("the log");
    let counted = |text| log.matches(text).count();
    println!(
        "{STARTS} starts: {} served, {} reloaded",
        counted("INFO  serving"),
        counted("configuration reloaded")
    );
}
