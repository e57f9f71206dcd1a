//! `kms-gateway postfix` killed in each state in which its system calls leave the
//! disk: from there the gateway can be installed, and it can be taken out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use tempfile::TempDir;

use crate::harness::{Files, Installer, run};

/// The calls that change what is on disk, or end such a change: a file is synced
/// once it is written.
const CHANGES: [&str; 8] = [
    "rename",
    "unlink",
    "unlinkat",
    "mkdir",
    "rmdir",
    "fsync",
    "copy_file_range",
    "fchown",
];

/// The directories of a site in which the installer changes files.
const CHANGED: [&str; 2] = ["etc", "gateway"];

/// Copies that every run makes anew.
const STAGED: &str = "/staged";

/// Runs `command` with strace looking on, by these options.
fn traced(command: &Command, options: &[&str]) -> ExitStatus {
    Command::new("strace")
        .arg("-qq")
        .args(options)
        .arg(command.get_program())
        .args(command.get_args())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace starts")
}

/// The calls of a whole run of `command`, each as its name and its number among the
/// calls of this name. Calls on staged copies are left out.
fn calls_of(installer: &Installer, command: &Command) -> Vec<(String, usize)> {
    let trace = installer.layout.directory().join("trace");
    let file = trace.to_str().expect("a path in UTF-8");
    // A `?` passes over a call that this machine doesn't have.
    let names = format!("trace={}", CHANGES.map(|call| format!("?{call}")).join(","));
    let ended = traced(command, &["-y", "-o", file, "-e", &names]);
    assert!(ended.success(), "{ended:?}");
    let mut numbers = BTreeMap::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(trace).expect("a trace").lines() {
        let Some((name, arguments)) = line.split_once('(') else {
            continue;
        };
        let number = numbers.entry(name.to_owned()).or_insert(0);
        *number += 1;
        let is_staged = ["/", ">"].map(|end| format!("{STAGED}{end}"));
        if !is_staged.iter().any(|text| arguments.contains(text)) {
            calls.push((name.to_owned(), *number));
        }
    }
    calls
}

/// Kills `command` before this call of its.
fn kill(command: &Command, call: &str, number: usize) {
    let names = format!("trace={call}");
    let injected = format!("inject={call}:signal=SIGKILL:when={number}");
    let ended = traced(command, &["-o", "/dev/null", "-e", &names, "-e", &injected]);
    assert_eq!(ended.signal(), Some(9), "{call} {number}: {ended:?}");
}

/// All names below the changed directories, with the content of the files.
fn state(installer: &Installer) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut directories = CHANGED.map(|name| directory(installer, name)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.to_string_lossy().ends_with(STAGED) {
                continue;
            }
            let content = path.is_file().then(|| fs::read(&path).expect("a file"));
            if content.is_none() {
                directories.push(path.clone());
            }
            found.insert(path, content);
        }
    }
    found
}

fn directory(installer: &Installer, name: &str) -> PathBuf {
    installer.layout.directory().join(name)
}

/// A copy of the changed directories.
struct Snapshot(TempDir);

impl Snapshot {
    fn of(installer: &Installer) -> Self {
        let copy = TempDir::with_prefix("kms-gateway-").expect("a temporary directory");
        for name in CHANGED {
            copy_directory(&directory(installer, name), &copy.path().join(name));
        }
        Self(copy)
    }

    /// Puts the directories back as they were.
    fn restore(&self, installer: &Installer) {
        for name in CHANGED {
            let directory = directory(installer, name);
            fs::remove_dir_all(&directory).expect("a directory");
            copy_directory(&self.0.path().join(name), &directory);
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    run(Command::new("cp").arg("--archive").arg(from).arg(to), b"");
}

/// A site with all that the installer can change, and its files without the
/// gateway and with it.
fn to_be_killed() -> (Installer, Files, Files) {
    let installer = Installer::on_debian();
    let layout = &installer.layout;
    layout.set_postfix("always_bcc=archive@kms.example.org");
    layout.set_postfix("smtpd_milters=inet:localhost:8891");
    layout.set_postfix("non_smtpd_milters=$smtpd_milters");
    let before = installer.files();
    installer.run(&[]);
    let installed = installer.files();
    installer.uninstall(&[]);
    installer.assert_files(&before);
    (installer, before, installed)
}

/// Each file is as one of the two has it.
#[track_caller]
fn assert_whole(installer: &Installer, one: &Files, other: &Files) {
    for (file, now) in installer.files() {
        assert!(
            now == one[&file] || now == other[&file],
            "half of {}",
            file.display()
        );
    }
}

/// Kills the command before each of its calls, always from the same start. From each
/// state that this leaves, both ends must be reached: the gateway installed, and
/// nothing left of it. A state that was recovered from once needs no second time.
fn kill_in_each_state(
    installer: &Installer,
    command: impl Fn() -> Command,
    before: &Files,
    installed: &Files,
) {
    let start = Snapshot::of(installer);
    let mut seen = BTreeSet::from([state(installer)]);
    let calls = calls_of(installer, &command());
    for (call, number) in &calls {
        start.restore(installer);
        kill(&command(), call, *number);
        assert_whole(installer, before, installed);
        if seen.insert(state(installer)) {
            let killed = Snapshot::of(installer);
            installer.run(&[]);
            installer.assert_files(installed);
            killed.restore(installer);
            installer.uninstall(&[]);
            installer.assert_files(before);
            assert!(installer.is_gone());
        }
    }
    assert!(calls.len() > 15, "it was killed {} times only", calls.len());
    assert!(seen.len() > 12, "it was in {} states only", seen.len());
}

#[test]
fn an_installation_killed_at_any_call_is_ended_or_taken_back() {
    let (installer, before, installed) = to_be_killed();
    let install = || installer.command(&[]);
    kill_in_each_state(&installer, install, &before, &installed);
}

#[test]
fn an_uninstallation_killed_at_any_call_is_ended_or_taken_back() {
    let (installer, before, installed) = to_be_killed();
    installer.run(&[]);
    let uninstall = || installer.postfix("uninstall");
    kill_in_each_state(&installer, uninstall, &before, &installed);
}
