//! The systemd unit of the package: systemd finds nothing amiss in it, little is
//! left open, and the gateway at work makes no system call that it forbids.
//! `scripts/fresh-debian` starts the unit by a real systemd.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{
    ALICE, Draft, GATEWAY, Layout, Module, Rbldnsd, Site, SoftwareModule, WELL, output, run, until,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Tenths of the exposure that systemd's own judgement leaves a service that
/// talks to the Internet: sockets, no address list, the system's own root.
const EXPOSURE: &str = "11";

const NAME_SERVER: u16 = 5300;

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("debian/kms-gateway.service")
}

fn text_of_unit() -> String {
    fs::read_to_string(unit()).expect("the unit")
}

#[test]
fn systemd_finds_nothing_amiss() {
    let directory = TempDir::with_prefix("kms-gateway-").expect("a temporary directory");
    let copy = directory.path().join("kms-gateway.service");
    // systemd-analyze would complain of a program that isn't there.
    let program = env!("CARGO_BIN_EXE_kms-gateway");
    let text = text_of_unit().replace("/usr/bin/kms-gateway", program);
    fs::write(&copy, text).expect("the unit's copy");
    let ended = output(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&copy),
        b"",
    );
    let said = (ended.stdout.as_str(), ended.stderr.as_str());
    assert_eq!((ended.code, said), (Some(0), ("", "")));
}

#[test]
fn little_is_left_open() {
    let threshold = format!("--threshold={EXPOSURE}");
    run(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", &threshold])
            .arg(unit()),
        b"",
    );
}

/// The system calls of a set such as `@system-service`, or the one of that name.
fn calls_in(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let listed = run(
        Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", name]),
        b"",
    );
    let lines = listed.lines().skip(1).map(str::trim);
    let members = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    members.flat_map(calls_in).collect()
}

/// The system calls that the unit's `SystemCallFilter=` lines allow. They name sets
/// to allow, then sets to take away again.
fn allowed() -> BTreeSet<String> {
    // Needed to start any program, and allowed by systemd itself.
    let mut allowed = calls_in("@default");
    for line in text_of_unit().lines() {
        let Some(filter) = line.strip_prefix("SystemCallFilter=") else {
            continue;
        };
        let denied = filter.strip_prefix('~');
        for name in denied.unwrap_or(filter).split(' ') {
            let calls = calls_in(name);
            match denied {
                Some(_) => allowed.retain(|call| !calls.contains(call)),
                None => allowed.extend(calls),
            }
        }
    }
    allowed
}

/// The names of the calls in strace's output.
fn calls_made(trace: &str) -> BTreeSet<String> {
    let lines = trace.lines().filter_map(|line| line.split_once(' '));
    let calls = lines.filter_map(|(_, call)| call.trim_start().split_once('('));
    calls
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        })
        .collect()
}

/// All that the gateway does for mail: DNS blocklists, every kind of answer, a
/// reload, an end in order.
fn work(site: &Site) {
    let key = site.ask(&Draft::request("{KMS:GetPublicKey}", "")).text();
    let module = SoftwareModule::new(&site.layout, "90000001");
    let request = module.request(&key);
    let reply = site.ask(&Draft::request("{KMS:GetKlfStsEd2} order-17", &request));
    let result = reply.header("X-Gateway-Result").expect("a result");
    assert!(result.starts_with("Success"), "{result}");
    site.gateway.as_ref().expect("it runs").signal(Signal::HUP);
    until("the reload", PATIENCE, || {
        let log = site.gateway.as_ref().expect("it runs").log();
        log.contains("configuration reloaded").then_some(())
    });
    let mut client = site.smtp();
    client.speak_for("ADDR=192.0.2.9");
    let help = Draft::request("{KMS:Help}", "");
    let refused = client.send(ALICE, &[GATEWAY], &help.to_bytes());
    assert_eq!(refused.code, 554, "{refused:?}");
}

#[test]
fn the_gateway_at_work_makes_no_call_that_the_unit_forbids() {
    let layout = Layout::new();
    layout.allow_xclient();
    let listed = format!("{WELL}192.0.2.9\n");
    let zones = [("bl.example", "ip4set", listed.as_str())];
    let name_server = layout.port(NAME_SERVER);
    let _rbldnsd = Rbldnsd::start(layout.directory(), name_server, 60, &zones);
    layout.set_gateway("dnsbl", "zones", vec![toml::Value::from("bl.example")]);
    layout.set_gateway("dnsbl", "resolver", name_server.to_string());
    let file = layout.directory().join("strace.log");
    let path = file.to_str().expect("a path in UTF-8").to_owned();
    let gateway = layout.start_traced_gateway(&["-o", &path]);
    let gateway_id = gateway.id().to_string();
    let mut site = layout.start_with(Some(gateway));
    work(&site);
    assert!(site.gateway.take().expect("it runs").stop().success());
    let trace = until("the trace is complete", PATIENCE, || {
        let trace = fs::read_to_string(&file).unwrap_or_default();
        let is_end = |line: &str| {
            let of_gateway = line.split(' ').next() == Some(&gateway_id);
            of_gateway && line.ends_with("exited with 0 +++")
        };
        trace.lines().any(is_end).then_some(trace)
    });

    let (mut made, allowed) = (calls_made(&trace), allowed());
    for call in ["prlimit64", "prctl", "mlock", "fdatasync", "accept4"] {
        assert!(made.contains(call), "no {call}: {made:?}");
    }
    // SQLite calls it only as root, which the service is not.
    made.remove("fchown");
    let forbidden: Vec<&String> = made.difference(&allowed).collect();
    println!(
        "{} kinds of calls made, {} allowed",
        made.len(),
        allowed.len()
    );
    assert_eq!(forbidden, Vec::<&String>::new());
}
