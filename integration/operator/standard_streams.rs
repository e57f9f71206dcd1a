//! Commands whose standard output or standard error is full, closed or read by
//! nobody: an error or a quiet end, never a panic.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use clap::CommandFactory as _;
use kms_gateway::commands::Arguments;
use serde_json::Value;

use crate::harness::{
    ALICE, BOB, DATABASE, Draft, GATEWAY, Layout, Mail, Module as _, Postgresql, Site,
    SoftwareModule, run,
};
use crate::harness::{until, words};

const PATIENCE: Duration = Duration::from_secs(60);

/// Each command that prints, as it succeeds once at [`Scene`]; `--json` is added
/// where there is one. A word in braces stands for something of the scene.
const COMMANDS: &[&str] = &[
    "check",
    "config get",
    "config set milter.keep_bcc true",
    "postfix install --config-directory {directory}/postfix --internal {internal}",
    "postfix uninstall --config-directory {directory}/postfix",
    "postfix check --config-directory {directory}/postfix",
    "explain {mail}",
    "record {mail}",
    "backup {directory}/copy.sqlite3",
    "store copy --to postgresql",
    "queue list",
    "queue show {request}",
    "queue retry {request} --throttled",
    "queue drop {request} --reason test",
    "audit list",
    "audit verify",
    "audit export --format csv",
    "senders list",
    "senders unblock {sender}",
    "init --address kms@example.org --issuer Example --database {directory}/data/database \
     --master-secret-file {directory}/new/secret",
    "kmc init --issuer Example --name K0001 --expires 20990101T000000Z --create-master-secret",
    "kmc rotate --name K0002 --expires 20990201T000000Z",
    "kmc list",
    "kmc public-key",
    "kmc export --passphrase-file {passphrase} --out {directory}/kmc.pem",
    "module add --registration {registration} --sgc 000439",
    "module list",
    "module history {smid}",
    "module revoke {smid}",
    "module restore {smid}",
    "module authorise {smid} --sgc 000439",
    "vending-key generate --sgc 000440 --krn 1 --kt 2 --dkga 02 --bdt 2014",
    "vending-key import --sgc 000440 --krn 1 --kt 2 --dkga 02 --bdt 2014 --key-file {key}",
    "vending-key retire --sgc 000439 --krn 1",
    "vending-key list",
    "secret rewrap --rekey",
    "sm init --state {directory}/sm.json --registration {directory}/sm-registration.json \
     --issuer Example --name 90000009 --hardware SOFT-1 --firmware 1.0",
    "sm request --state {state} --public-key {public-key}",
    "sm open --state {state} {key-load-file}",
    "update new-key --passphrase-file {passphrase} --out {directory}/new-stsa.pem",
    "update build --public-key {public-key} --serial 1 --revoke {smid}=SOFT-1",
    "update sign --key {stsa} --passphrase-file {passphrase} {update}",
];

/// Prints nothing: its log goes to standard error.
const SERVICES: [&str; 1] = ["serve"];

/// A site after some traffic, put back to what it was before each command.
struct Scene {
    site: Site,
    /// The server for `store copy`.
    server: Postgresql,
    values: Vec<(&'static str, String)>,
}

impl Scene {
    fn new() -> Self {
        let layout = Layout::new();
        layout.set_gateway("throttle", "at_once", 1);
        layout.set_gateway("throttle", "every", "1h");
        let mut site = layout.start();
        let module = SoftwareModule::new(&site.layout, "90000001");
        let public_key = site.layout.gateway(&["kmc", "public-key"]);
        let body = module.request(&public_key);
        let answer = site.ask(&Draft::request("{KMS:GetKlfStsEd2} 1", &body));
        for number in 1..=2 {
            let subject = format!("{{KMS:Help}} {number}");
            let draft = Draft::request(&subject, "please\n").with("From", BOB);
            let taken = site.smtp().send(BOB, &[GATEWAY], &draft.to_bytes());
            assert_eq!(taken.code, 250, "{taken:?}");
        }
        let waiting = until("only the deferred request is left", PATIENCE, || {
            let list = list(&site, &["queue", "list", "--json"]);
            (list.len() == 1).then(|| list[0].clone())
        });
        let senders = list(&site, &["senders", "list", "--json"]);
        let gateway = site.gateway.take().expect("it runs");
        assert!(gateway.stop().success());
        let mut scene = Self {
            values: Vec::new(),
            server: Postgresql::start(),
            site,
        };
        scene.note("request", text(&waiting, "request_id"));
        scene.note("sender", text(&senders[0], "sender"));
        scene.note("state", shown(module.state()));
        scene.prepare(&answer, &public_key, &body);
        scene.keep();
        scene
    }

    /// Makes the files that commands need beside the site itself.
    fn prepare(&mut self, answer: &Mail, public_key: &str, body: &str) {
        let directory = self.directory();
        self.note("directory", shown(&directory));
        let (_, _, key_load_file) = answer.attachment();
        let mail = format!("From: {ALICE}\nTo: {GATEWAY}\nSubject: {{KMS:Help}}\n\n{body}");
        for (name, content) in [
            ("key-load-file", key_load_file.as_slice()),
            ("public-key", public_key.as_bytes()),
            ("passphrase", b"correct horse\n"),
            ("key", b"0123456789ABCDEF"),
            ("mail", mail.as_bytes()),
        ] {
            let path = directory.join(name);
            fs::write(&path, content).expect(name);
            self.note(name, shown(&path));
        }
        let other = SoftwareModule::unregistered(&self.site.layout, "90000002");
        self.note("registration", other.registration());
        let known = self.site.layout.gateway(&["module", "list"]);
        let smid = known.split_whitespace().next().expect("a module");
        self.note("smid", smid.to_owned());
        let stsa = directory.join("stsa.pem");
        self.note("stsa", shown(&stsa));
        self.run("update new-key --passphrase-file {passphrase} --out {stsa}");
        let update =
            self.run("update build --public-key {public-key} --serial 1 --revoke {smid}=X");
        fs::write(directory.join("update"), update).expect("an update file");
        self.note("update", shown(&directory.join("update")));
        self.layout_without_keys();
        self.layout_with_server();
        self.postfix_without_gateway();
    }

    /// The configuration of the same gateway when its store is to be moved to the server.
    fn layout_with_server(&self) {
        let config = fs::read_to_string(self.directory().join("gateway.toml"));
        let config = config.expect("a configuration");
        let mut config: toml::Table = config.parse().expect("a configuration");
        let store = config["store"].as_table_mut().expect("a table");
        store.insert("postgresql".to_owned(), self.server.settings().into());
        fs::write(self.directory().join("server.toml"), config.to_string())
            .expect("a configuration");
    }

    /// Debian's files for the Postfix that runs, which has the gateway's ports.
    fn postfix_without_gateway(&mut self) {
        let directory = self.directory().join("postfix");
        fs::create_dir(&directory).expect("a directory");
        let read = |name: &str| {
            let path = Path::new("/usr/share/postfix").join(name);
            fs::read_to_string(path).expect(name)
        };
        let queue = self.site.layout.directory().join("queue");
        let main = format!(
            "{}\nqueue_directory = {}\n",
            read("main.cf.debian"),
            queue.display()
        );
        fs::write(directory.join("main.cf"), main).expect("main.cf");
        fs::write(directory.join("master.cf"), read("master.cf.dist")).expect("master.cf");
        self.note("internal", self.site.layout.port(18026).to_string());
    }

    /// The configuration of a gateway that `kmc init` has not run for.
    fn layout_without_keys(&self) {
        let directory = self.directory().join("empty");
        fs::create_dir(&directory).expect("a directory");
        let config = format!(
            "[gateway]\naddresses = [\"{GATEWAY}\"]\n[store]\npath = \"{0}/data/database\"\n\
             [secrets]\nmaster_secret_file = \"{0}/secret\"\n",
            directory.display()
        );
        fs::write(directory.join("gateway.toml"), config).expect("a configuration");
    }

    fn directory(&self) -> PathBuf {
        self.site.layout.directory().join("gateway")
    }

    fn kept(&self) -> PathBuf {
        self.site.layout.directory().join("kept")
    }

    fn note(&mut self, name: &'static str, value: String) {
        self.values.push((name, value));
    }

    fn keep(&self) {
        copy(&self.directory(), &self.kept());
    }

    fn put_back(&self) {
        fs::remove_dir_all(self.directory()).expect("the directory");
        copy(&self.kept(), &self.directory());
        let drop_all = format!("DROP OWNED BY \"{DATABASE}\"");
        self.server.sql(DATABASE, &drop_all);
    }

    /// A command line of [`COMMANDS`].
    fn command(&self, line: &str) -> Command {
        let config = match line {
            _ if line.starts_with("init") => "new/gateway.toml",
            _ if line.starts_with("kmc init") => "empty/gateway.toml",
            _ if line.starts_with("store copy") => "server.toml",
            _ => "gateway.toml",
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
        command.arg("--config").arg(self.directory().join(config));
        command.args(words(line).into_iter().map(|word| self.value(word)));
        command.stdin(Stdio::null());
        command
    }

    fn value(&self, word: &str) -> String {
        let values = self.values.iter();
        values.fold(word.to_owned(), |word, (name, value)| {
            word.replace(&format!("{{{name}}}"), value)
        })
    }

    fn run(&self, line: &str) -> String {
        run(&mut self.command(line), b"")
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to), b"");
}

fn list(site: &Site, arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&site.layout.gateway(arguments)).expect("an array")
}

fn text(object: &Value, field: &str) -> String {
    let text = object[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {object}"))
        .to_owned()
}

fn shown(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// A place where nothing can be written.
fn full() -> File {
    let device = File::options().write(true).open("/dev/full");
    device.expect("/dev/full")
}

/// A pipe that nobody reads any more.
fn unread() -> Stdio {
    let (_, writer) = io::pipe().expect("a pipe");
    writer.into()
}

fn ended(command: &mut Command) -> (Output, String) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{command:?}: {stderr}");
    assert_ne!(output.status.code(), Some(101), "{command:?}: {stderr}");
    (output, stderr)
}

/// All command lines, those with `--json` too.
fn lines() -> Vec<String> {
    let names = leaves();
    let has_json = |line: &&&str| {
        let of = |name: &&(String, bool)| line.starts_with(&name.0);
        names.iter().find(of).is_some_and(|(_, json)| *json)
    };
    let with_json = COMMANDS.iter().filter(has_json);
    let with_json = with_json.map(|line| format!("{line} --json"));
    let plain = COMMANDS.iter().map(|line| (*line).to_owned());
    plain.chain(with_json).collect()
}

/// Each command that has none below it, and whether it has `--json`.
fn leaves() -> Vec<(String, bool)> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut found = Vec::new();
    let mut rest = vec![(String::new(), &command)];
    while let Some((name, command)) = rest.pop() {
        if command.get_subcommands().next().is_none() {
            let mut arguments = command.get_arguments();
            let has_json = arguments.any(|own| own.get_long() == Some("json"));
            found.push((name.trim_start().to_owned(), has_json));
        }
        let below = command.get_subcommands();
        rest.extend(below.map(|own| (format!("{name} {}", own.get_name()), own)));
    }
    found
}

#[test]
fn every_command_is_tried() {
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with(' ');
    let tried = |name: &str| {
        let mut rests = COMMANDS.iter().filter_map(|line| line.strip_prefix(name));
        rests.any(is_end)
    };
    let untried: BTreeSet<String> = leaves()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !SERVICES.contains(&name.as_str()) && !tried(name))
        .collect();
    assert!(
        untried.is_empty(),
        "give each a row in COMMANDS: {untried:?}"
    );
}

#[test]
fn a_full_standard_output_is_an_error_of_every_command() {
    let scene = Scene::new();
    for line in lines() {
        scene.put_back();
        let (output, stderr) = ended(scene.command(&line).stdout(full()));
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        let named = "kms-gateway: standard output can't be written: No space left";
        assert!(stderr.contains(named), "{line}: {stderr}");

        scene.put_back();
        let mut both = scene.command(&line);
        let (output, _) = ended(both.stdout(full()).stderr(full()));
        assert_eq!(output.status.code(), Some(1), "{line}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_every_command_quietly() {
    const PIPE: i32 = 13;
    let scene = Scene::new();
    for line in lines() {
        scene.put_back();
        let (output, stderr) = ended(scene.command(&line).stdout(unread()));
        assert_eq!(output.status.signal(), Some(PIPE), "{line}: {output:?}");
        assert!(!stderr.contains("kms-gateway: "), "{line}: {stderr}");
    }
}

/// No set-up is left half done because it can't be shown.
#[test]
fn a_set_up_that_cannot_be_shown_is_done_all_the_same() {
    let scene = Scene::new();
    for line in COMMANDS.iter().filter(|line| line.contains("init --")) {
        if line.starts_with("sm") {
            continue;
        }
        scene.put_back();
        let (output, stderr) = ended(scene.command(line).stdout(full()));
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        let directory = match line.starts_with("init") {
            true => "new/gateway.toml",
            false => "empty/gateway.toml",
        };
        let config = scene.directory().join(directory);
        let mut list = crate::harness::kms_gateway(&config, &["kmc", "list"]);
        assert_eq!(run(&mut list, b"").lines().count(), 1, "{line}");
    }
}

#[test]
fn help_and_version_are_no_exception() {
    let program = || Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
    let mut pages = vec![
        "--version".to_owned(),
        "--help".to_owned(),
        "help".to_owned(),
    ];
    pages.extend(
        leaves()
            .into_iter()
            .map(|(name, _)| format!("{name} --help")),
    );
    for page in &pages {
        let (output, stderr) = ended(program().args(words(page)).stdout(full()));
        assert_eq!(output.status.code(), Some(1), "{page}");
        assert!(
            stderr.contains("standard output can't be written"),
            "{stderr}"
        );
        let (output, stderr) = ended(program().args(words(page)).stdout(unread()));
        assert!(output.status.success() && stderr.is_empty(), "{page}");
    }
}

#[test]
fn an_error_that_cannot_be_shown_is_still_one() {
    let program = || Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
    for (line, code) in [
        ("--config /nonexistent/gateway.toml check", 1),
        ("--config /nonexistent/gateway.toml serve", 1),
        ("record /nonexistent", 1),
        ("no-such-command", 2),
    ] {
        let (output, _) = ended(program().args(words(line)).stderr(full()));
        assert_eq!(output.status.code(), Some(code), "{line}");
        // Some end by SIGPIPE.
        let (output, _) = ended(program().args(words(line)).stderr(unread()));
        assert!(!output.status.success(), "{line}");
    }
}

/// Such a program has `/dev/null` instead.
#[test]
fn closed_streams_change_no_command() {
    for (streams, line, code) in [
        (">&-", "--version", 0),
        ("2>&-", "--version", 0),
        (">&- 2>&-", "--version", 0),
        ("<&- >&- 2>&-", "record /nonexistent", 1),
        ("2>&-", "--config /nonexistent/gateway.toml serve", 1),
        ("2>&-", "no-such-command", 2),
    ] {
        let mut command = Command::new("sh");
        let script = format!("exec \"$0\" \"$@\" {streams}");
        let program = env!("CARGO_BIN_EXE_kms-gateway");
        command.args(["-c", &script, program]).args(words(line));
        let (output, _) = ended(&mut command);
        assert_eq!(output.status.code(), Some(code), "{line} {streams}");
        let is_shown = streams == "2>&-" && code == 0;
        assert_eq!(!output.stdout.is_empty(), is_shown, "{line} {streams}");
    }
}
