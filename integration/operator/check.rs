//! `check` refuses exactly what `serve` refuses, by the same words, and knows
//! the ports of its own gateway.

use std::{
    any::Any,
    fs::{self, File, Permissions},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
};

use crate::harness::{House, Layout, Output};

/// Keeps a port or a lock until it is dropped.
type Holder = Box<dyn Any>;

fn nothing() -> Holder {
    Box::new(())
}

fn gateway_file(layout: &Layout, name: &str) -> PathBuf {
    layout.directory().join("gateway").join(name)
}

fn database(layout: &Layout) -> PathBuf {
    gateway_file(layout, "gateway.sqlite3")
}

fn secret(layout: &Layout) -> PathBuf {
    gateway_file(layout, "master.secret")
}

fn set_mode(path: &PathBuf, mode: u32) -> Holder {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode");
    nothing()
}

/// A fault of an installation, and how it comes about.
type Fault = (&'static str, fn(&Layout) -> Holder);

const FAULTS: &[Fault] = &[
    ("no master secret", |layout| {
        fs::remove_file(secret(layout)).expect("it was there");
        nothing()
    }),
    ("another master secret", |layout| {
        fs::write(secret(layout), format!("{}\n", "5".repeat(64))).expect("the secret");
        nothing()
    }),
    ("a master secret that others can read", |layout| {
        set_mode(&secret(layout), 0o644)
    }),
    ("no such systemd credential", |layout| {
        layout.set_gateway("secrets", "master_secret_credential", "nowhere");
        nothing()
    }),
    ("no database", |layout| {
        fs::remove_file(database(layout)).expect("it was there");
        nothing()
    }),
    ("no directory of the database", |layout| {
        let path = layout.directory().join("elsewhere/gateway.sqlite3");
        layout.set_gateway("store", "path", path.to_str().expect("UTF-8"));
        nothing()
    }),
    ("an empty database", |layout| {
        fs::write(database(layout), "").expect("the file");
        nothing()
    }),
    ("no database at all", |layout| {
        fs::write(database(layout), "a text\n".repeat(1000)).expect("the file");
        nothing()
    }),
    ("a database that others can read", |layout| {
        set_mode(&database(layout), 0o644)
    }),
    ("a damaged database", |layout| {
        let mut content = fs::read(database(layout)).expect("the file");
        content.iter_mut().skip(100).for_each(|byte| *byte = 0xA5);
        fs::write(database(layout), content).expect("the file");
        nothing()
    }),
    ("an audit entry that somebody changed", |layout| {
        layout.sqlite("UPDATE audit SET entry = replace(entry, 'KMC', 'CMK')");
        nothing()
    }),
    ("a database of tomorrow", |layout| {
        layout.sqlite("UPDATE schema_version SET version = 999, usable_from = 999");
        nothing()
    }),
    ("secrets that are being changed", |layout| {
        let directory = File::open(layout.directory().join("gateway")).expect("a directory");
        directory.lock().expect("nobody else has it");
        Box::new(directory)
    }),
    ("a milter port in use", |layout| {
        Box::new(TcpListener::bind(layout.port(8890)).expect("the port"))
    }),
    ("a milter address of another host", |layout| {
        layout.set_gateway("milter", "listen", "inet:192.0.2.1:8890");
        nothing()
    }),
    ("no directory of the milter's socket", |layout| {
        let socket = layout.directory().join("nowhere/milter");
        layout.set_gateway("milter", "listen", format!("unix:{}", socket.display()));
        nothing()
    }),
    ("a milter socket in use", |layout| {
        let socket = gateway_file(layout, "milter");
        layout.set_gateway("milter", "listen", format!("unix:{}", socket.display()));
        Box::new(UnixListener::bind(socket).expect("a socket"))
    }),
    ("a metrics port in use", |layout| {
        let port = layout.port(9890);
        layout.set_gateway("metrics", "listen", port.to_string());
        Box::new(TcpListener::bind(port).expect("the port"))
    }),
    ("the reply port is the milter's", |layout| {
        layout.set_gateway("reply", "smtp", layout.port(8890).to_string());
        nothing()
    }),
    ("an audit log of seconds", |layout| {
        layout.set_gateway("audit", "keep", "400s");
        nothing()
    }),
    ("a log level that is none", |layout| {
        layout.set_gateway("log", "level", "warning");
        nothing()
    }),
];

/// The one line by which `serve` ended.
fn refusal(what: &str, layout: &Layout) -> String {
    let ended = layout.try_gateway(&["serve"]);
    assert_eq!(ended.code, Some(1), "{what}: {ended:?}");
    let line = ended.stderr.lines().last().expect("a line");
    let (_, error) = line.split_once("kms-gateway: ").expect("an error");
    error.to_owned()
}

#[test]
fn whatever_serve_refuses_check_refuses_by_the_same_words() {
    for (what, break_it) in FAULTS {
        let layout = House::layout();
        let _holder = break_it(&layout);
        let error = refusal(what, &layout);
        let Output {
            code,
            stdout,
            stderr,
        } = layout.try_gateway(&["check"]);
        assert_eq!(code, Some(1), "{what}: {stdout}{stderr}");
        let problem = format!("problem: {error}\n");
        let is_said = stdout.ends_with(&problem) || stderr == format!("kms-gateway: {error}\n");
        assert!(is_said, "{what}: {error}\n{stdout}{stderr}");
        assert!(
            !stdout.contains("toml: valid"),
            "{what} is called valid: {stdout}"
        );
    }
}

#[test]
fn all_problems_are_named_at_once() {
    let layout = House::layout();
    let _milter = TcpListener::bind(layout.port(8890)).expect("the port");
    let metrics = layout.port(9890);
    layout.set_gateway("metrics", "listen", metrics.to_string());
    let _metrics = TcpListener::bind(metrics).expect("the port");
    fs::remove_file(database(&layout)).expect("it was there");
    let json = layout.try_gateway(&["check", "--json"]).stdout;
    let report: serde_json::Value = serde_json::from_str(&json).expect("an object");
    let problems = report["problems"].as_array().expect("an array");
    assert_eq!(problems.len(), 3, "{report:#}");
    assert!(!database(&layout).exists(), "check makes no database");
}

#[track_caller]
fn is_well(layout: &Layout) {
    let ended = layout.try_gateway(&["check"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[track_caller]
fn is_refused(layout: &Layout, key: &str) {
    let ended = layout.try_gateway(&["check"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let problem = format!("problem: {}: {key}: ", layout.config().display());
    assert!(ended.stdout.contains(&problem), "{ended:?}");
}

#[test]
fn the_ports_of_the_running_gateway_are_its_own() {
    let layout = House::layout();
    layout.set_gateway("metrics", "listen", layout.port(9890).to_string());
    is_well(&layout);
    let gateway = layout.start_gateway();
    is_well(&layout);

    // Other ports, which the next start would take, are not.
    let other = TcpListener::bind(layout.port(8891)).expect("the port");
    layout.set_gateway("milter", "listen", format!("inet:{}", layout.port(8891)));
    is_refused(&layout, "milter.listen");
    drop(other);
    is_well(&layout);

    // A dead gateway holds no port any more.
    layout.set_gateway("milter", "listen", format!("inet:{}", layout.port(8890)));
    gateway.kill();
    is_well(&layout);
    let other = TcpListener::bind(layout.port(8890)).expect("the port");
    is_refused(&layout, "milter.listen");
    drop(other);
    let gateway = layout.start_gateway();
    is_well(&layout);
    assert!(gateway.stop().success());
}

#[test]
fn a_unix_socket_of_the_running_gateway_is_its_own_and_stays() {
    let layout = House::layout();
    let socket = gateway_file(&layout, "milter");
    layout.set_gateway("milter", "listen", format!("unix:{}", socket.display()));
    let gateway = layout.start_gateway_at(&socket);
    let checked = layout.try_gateway(&["check"]);
    assert!(!checked.stdout.contains("problem: "), "{checked:?}");
    assert!(socket.exists());
    assert!(gateway.stop().success());
}

#[test]
fn another_gateway_of_another_database_is_another() {
    let one = House::layout();
    let gateway = one.start_gateway();
    let other = House::layout();
    other.set_gateway("milter", "listen", format!("inet:{}", one.port(8890)));
    is_refused(&other, "milter.listen");
    assert!(gateway.stop().success());
}
