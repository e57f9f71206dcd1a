//! A new installation: `init` with options and at a terminal, cut short and
//! finished, by root for another user.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::harness::{Gateway, Output, kms_gateway, output, python, run, words};

/// The gateway's user, where root sets it up.
const NOBODY: u32 = 65534;

/// A machine on which nothing was set up yet.
struct Machine(TempDir);

impl Machine {
    /// With Postfix as Debian installs it, whatever the machine of the test has.
    fn new() -> Self {
        let machine = Self(TempDir::with_prefix("kms-gateway-").expect("a temporary directory"));
        let postfix = machine.path("postfix");
        fs::create_dir(&postfix).unwrap();
        for (from, to) in [
            ("main.cf.debian", "main.cf"),
            ("master.cf.dist", "master.cf"),
        ] {
            fs::copy(Path::new("/usr/share/postfix").join(from), postfix.join(to)).unwrap();
        }
        machine
    }

    /// A command of the gateway or of Postfix on that machine.
    fn on(&self, mut command: Command) -> Command {
        command.env("MAIL_CONFIG", self.path("postfix"));
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("etc/gateway.toml")
    }

    /// As in Postfix's queue directory.
    fn socket(&self) -> PathBuf {
        self.path("queue/kms-gateway/milter")
    }

    /// Its paths as options.
    fn paths(&self) -> Vec<String> {
        vec![
            format!("--database={}", self.path("var/gateway.sqlite3").display()),
            format!(
                "--master-secret-file={}",
                self.path("etc/master.secret").display()
            ),
            format!("--milter-listen=unix:{}", self.socket().display()),
        ]
    }

    fn init(&self, options: &str, with_paths: bool) -> Output {
        let paths = if with_paths { self.paths() } else { Vec::new() };
        let mut arguments = words(options);
        arguments.insert(0, "init");
        arguments.extend(paths.iter().map(String::as_str));
        output(&mut self.on(kms_gateway(&self.config(), &arguments)), b"")
    }

    fn gateway(&self, arguments: &str) -> Output {
        output(
            &mut self.on(kms_gateway(&self.config(), &words(arguments))),
            b"",
        )
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["etc", "var"]
            .iter()
            .filter_map(|directory| fs::read_dir(self.path(directory)).ok())
            .flatten()
            .map(|entry| entry.expect("a name").file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn succeeds(output: &Output) {
    assert_eq!(output.code, Some(0), "{output:?}");
}

fn is_refused(output: &Output, words: &[&str]) {
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word}: {output:?}");
    }
}

#[test]
fn options_are_enough_and_what_is_made_is_left_alone() {
    let machine = Machine::new();
    let made = machine.init(
        "--address kms@example.org --address keys@example.org --issuer Example",
        true,
    );
    succeeds(&made);
    for word in [
        "configuration: ",
        "master secret: ",
        "copy in a safe",
        "database:      ",
        "KMCID.1:Example:K0001:",
        "1. kms-gateway --config ",
        "2. ",
        "3. ",
    ] {
        assert!(made.stdout.contains(word), "{word}: {made:?}");
    }
    let checked = machine.gateway("check");
    succeeds(&checked);
    assert!(checked.stdout.contains("keys@example.org"), "{checked:?}");
    succeeds(&machine.gateway("kmc public-key"));

    // The file keeps the words that explain it.
    let text = fs::read_to_string(machine.config()).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("postfix/gateway.toml");
    let shipped = fs::read_to_string(shipped).unwrap();
    let changed = text
        .lines()
        .zip(shipped.lines())
        .filter(|(line, shipped)| line != shipped);
    assert_eq!(changed.count(), 4);
    assert_eq!(text.lines().count(), shipped.lines().count());

    let before = fs::read(machine.path("etc/master.secret")).unwrap();
    is_refused(
        &machine.init("--issuer Example", false),
        &["gateway.sqlite3", "nothing is left"],
    );
    is_refused(
        &machine.init("--address a@example.org --issuer Example", false),
        &["gateway.toml", "kms-gateway config set"],
    );
    assert_eq!(fs::read(machine.path("etc/master.secret")).unwrap(), before);
    assert_eq!(fs::read_to_string(machine.config()).unwrap(), text);
}

#[test]
fn the_time_until_the_first_start_puts_the_clock_in_no_doubt() {
    let machine = Machine::new();
    succeeds(&machine.init("--address kms@example.org --issuer Example", true));
    // The machine has run on for two hours since.
    let database = machine.path("var/gateway.sqlite3");
    let earlier = "UPDATE clock_stretches SET begun = begun - 7200e6, ended = ended - 7200e6;
        UPDATE clock SET line = line - 7200e6, now = now - 7200e6, uptime = uptime - 7200e6;
        SELECT changes();";
    let changed = run(Command::new("sqlite3").arg(database).arg(earlier), b"");
    assert_eq!(changed, "1\n");
    let checked = machine.gateway("check");
    succeeds(&checked);
    assert!(!checked.stdout.contains("the clock is"), "{checked:?}");
}

#[test]
fn without_anybody_to_ask_what_is_missing_is_named_and_nothing_made() {
    let machine = Machine::new();
    is_refused(&machine.init("--issuer Example", true), &["--address"]);
    is_refused(&machine.init("--domain example.org", true), &["--issuer"]);
    is_refused(
        &machine.init("--domain not..one --issuer Example", true),
        &["--domain not..one"],
    );
    assert_eq!(
        machine
            .init("--address nowhere --issuer Example", true)
            .code,
        Some(2)
    );
    assert_eq!(machine.names(), Vec::<String>::new());
}

#[test]
fn a_run_that_was_cut_short_is_finished_by_another() {
    let machine = Machine::new();
    succeeds(&machine.init("--domain example.org --issuer Example", true));
    let secret = fs::read(machine.path("etc/master.secret")).unwrap();
    // As it was before the database was made.
    fs::remove_dir_all(machine.path("var")).unwrap();
    let finished = machine.init("--issuer Example", false);
    succeeds(&finished);
    assert!(!finished.stdout.contains("master secret: "), "{finished:?}");
    assert_eq!(fs::read(machine.path("etc/master.secret")).unwrap(), secret);
    let shown = machine.gateway("config get gateway.addresses");
    assert_eq!(shown.stdout, "kms@example.org\n");
    succeeds(&machine.gateway("kmc public-key"));
}

#[test]
fn a_database_that_was_kept_gets_a_configuration_again() {
    let machine = Machine::new();
    succeeds(&machine.init("--domain example.org --issuer Example", true));
    let key = machine.gateway("kmc public-key");
    // As purging the package leaves it, unless debconf says otherwise.
    fs::remove_file(machine.config()).unwrap();
    succeeds(&machine.init("--domain example.net", true));
    assert_eq!(machine.gateway("kmc public-key").stdout, key.stdout);
    // Without its secret it is worth nothing, and must not get another.
    fs::remove_file(machine.config()).unwrap();
    fs::remove_file(machine.path("etc/master.secret")).unwrap();
    is_refused(
        &machine.init("--domain example.net --issuer Example", true),
        &["gateway.sqlite3", "master.secret", "put the secret back"],
    );
    for made in ["etc/gateway.toml", "etc/master.secret"] {
        assert!(!machine.path(made).exists(), "{made}");
    }
}

/// Answers the questions at a terminal of its own, one a line, and shows what
/// was on it.
fn at_terminal(machine: &Machine, answers: &str) -> String {
    let mut command = machine.on(python("harness/at_terminal.py"));
    command
        .arg(env!("CARGO_BIN_EXE_kms-gateway"))
        .arg("--config")
        .arg(machine.config())
        .arg("init")
        .args(machine.paths());
    run(&mut command, answers.as_bytes())
}

#[test]
fn a_person_is_asked_and_an_empty_answer_takes_what_is_proposed() {
    let machine = Machine::new();
    let seen = at_terminal(&machine, "not an address\nkms@example.org\nExample\n\n\n");
    assert!(seen.contains("Address that people write to"), "{seen}");
    assert!(
        seen.contains("Name in the KMC's identifier [K0001]: "),
        "{seen}"
    );
    assert!(seen.contains("KMCID.1:Example:K0001:"), "{seen}");
    let shown = machine.gateway("config get gateway.addresses");
    assert_eq!(shown.stdout, "kms@example.org\n");
    succeeds(&machine.gateway("check"));
}

/// The exit code of `check`, and its lines on the milter's address.
fn checked(machine: &Machine, listen: &str) -> (Option<i32>, String) {
    succeeds(&machine.gateway(&format!("config set milter.listen {listen}")));
    let checked = machine.gateway("check");
    (checked.code, checked.stdout)
}

#[test]
fn whoever_could_speak_for_postfix_is_warned_of() {
    let machine = Machine::new();
    succeeds(&machine.init("--domain example.org --issuer Example", true));
    let shown = machine.gateway("config get milter.listen").stdout;
    let unix = format!("unix:{}", machine.socket().display());
    assert_eq!(shown.trim(), unix);
    let (code, said) = checked(&machine, &unix);
    assert!(code == Some(0) && !said.contains("milter.listen"), "{said}");

    for everybody in ["inet:0.0.0.0:8890", "inet:[::]:8890", "inet:192.0.2.1:8890"] {
        let (code, said) = checked(&machine, everybody);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("warning: milter.listen is inet:"), "{said}");
        assert!(said.contains("config set milter.listen unix:"), "{said}");
    }
    let (code, said) = checked(&machine, "inet:127.0.0.1:8890");
    assert!(
        code == Some(0) && said.contains("note: milter.listen"),
        "{said}"
    );

    let directory = machine.path("queue/kms-gateway");
    for (mode, word) in [(0o2777, "o-w"), (0o750, "chmod 2750")] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&directory, mode).unwrap();
        let (code, said) = checked(&machine, &unix);
        assert!(code == Some(1) && said.contains(word), "{word}: {said}");
    }
    fs::remove_dir(&directory).unwrap();
    let (code, said) = checked(&machine, &unix);
    assert!(code == Some(1) && said.contains("does not exist"), "{said}");
}

#[test]
fn a_socket_for_postfix_alone_is_proposed() {
    let machine = Machine::new();
    let mut command = machine.on(python("harness/at_terminal.py"));
    command
        .arg(env!("CARGO_BIN_EXE_kms-gateway"))
        .arg("--config")
        .arg(machine.config())
        .arg("init")
        .args(&machine.paths()[..2]);
    let listen = format!("unix:{}", machine.socket().display());
    let answers = format!("kms@example.org\n{listen}\nExample\n\n\n");
    let seen = run(&mut command, answers.as_bytes());
    let queue = run(
        machine
            .on(Command::new("postconf"))
            .args(["-h", "queue_directory"]),
        b"",
    );
    let proposal = format!("[unix:{}/kms-gateway/milter]", queue.trim());
    assert!(seen.contains(&proposal), "{seen}");
    let shown = machine.gateway("config get milter.listen");
    assert_eq!(shown.stdout.trim(), listen);
}

#[test]
fn an_external_system_has_the_key() {
    let machine = Machine::new();
    let socket = machine.path("kms.sock");
    let options = format!("--domain example.org --external-kms {}", socket.display());
    let made = machine.init(&options, true);
    succeeds(&made);
    assert!(!made.stdout.contains("KMCID"), "{made:?}");
    let shown = machine.gateway("config get kms.socket");
    assert_eq!(shown.stdout.trim_end(), socket.display().to_string());
    is_refused(&machine.init("", false), &["nothing is left"]);
    is_refused(&machine.gateway("kmc list"), &["external"]);
}

#[test]
fn root_sets_it_up_and_operates_it_for_another_user() {
    let machine = Machine::new();
    // As the package lays it out.
    chown(machine.0.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::create_dir(machine.path("var")).unwrap();
    chown(machine.path("var"), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(
        machine.path("var"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    succeeds(&machine.init("--domain example.org --issuer Example", true));
    for file in [
        "etc/master.secret",
        "var/gateway.sqlite3",
        "queue/kms-gateway",
    ] {
        let owner = fs::metadata(machine.path(file)).unwrap().uid();
        assert_eq!(owner, NOBODY, "{file}");
    }
    // Postfix's smtpd may pass, and connect to a socket that inherits the group.
    let directory = fs::metadata(machine.path("queue/kms-gateway")).unwrap();
    let group = run(Command::new("id").args(["-g", "postfix"]), b"");
    assert_eq!(directory.gid().to_string(), group.trim());
    assert_eq!(directory.mode() & 0o7777, 0o2750);
    succeeds(&machine.gateway("check"));
    // Root's hands leave nothing behind that the gateway can't open.
    succeeds(&machine.gateway("kmc rotate --name K0002 --expires 20990101T000000Z"));
    for entry in fs::read_dir(machine.path("var")).unwrap() {
        let entry = entry.unwrap();
        let owner = entry.metadata().unwrap().uid();
        assert_eq!(owner, NOBODY, "{}", entry.path().display());
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    succeeds(&machine.gateway(&format!("config set milter.listen inet:{port}")));
    let mut serve = Command::new("setpriv");
    serve
        .args([
            &format!("--reuid={NOBODY}"),
            &format!("--regid={NOBODY}"),
            "--clear-groups",
        ])
        .arg(env!("CARGO_BIN_EXE_kms-gateway"))
        .arg("--config")
        .arg(machine.config())
        .arg("serve");
    let gateway = Gateway::start(serve, &machine.path("log"), port);
    // While it runs, too.
    succeeds(&machine.gateway("kmc list"));
    assert!(gateway.stop().success());
}
