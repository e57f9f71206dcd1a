//! `kms-gateway postfix` killed before any of its system calls that changes a file:
//! whatever is not done yet the next run does, or takes back.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::harness::{Files, Installer};

/// The calls that change what is on disk, but for writing into a file that no name
/// leads to yet.
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

/// The command killed before its `number`th such call; false if it has fewer.
fn killed(command: &Command, call: &str, number: usize) -> bool {
    // A `?` passes over a call that this machine doesn't have.
    let ended = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace=?{call}"))
        .arg("-e")
        .arg(format!("inject=?{call}:signal=SIGKILL:when={number}"))
        .arg(command.get_program())
        .args(command.get_args())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace starts");
    assert!(ended.signal() == Some(9) || ended.success(), "{ended:?}");
    !ended.success()
}

/// All names below a directory with the content of the files, but for copies that
/// every run makes anew.
fn state(directory: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        match path.is_dir() {
            true if name.ends_with("/staged") => {}
            true => {
                found.extend(state(&path));
                found.insert((name, Vec::new()));
            }
            false => {
                found.insert((name, fs::read(&path).expect("a file")));
            }
        }
    }
    found
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

#[test]
fn an_installation_killed_at_any_call_is_ended_or_taken_back() {
    let (installer, before, installed) = to_be_killed();
    let etc = installer.layout.directory().join("etc");
    // A state that was recovered from once needs no second time.
    let mut seen = BTreeSet::from([state(&etc)]);
    let mut kills = 0;
    for call in CHANGES {
        for number in 1.. {
            if !killed(&installer.command(&[]), call, number) {
                break;
            }
            kills += 1;
            assert_whole(&installer, &before, &installed);
            if seen.insert(state(&etc)) {
                installer.uninstall(&[]);
                installer.assert_files(&before);
                assert!(installer.is_gone());
                killed(&installer.command(&[]), call, number);
                installer.run(&[]);
                installer.assert_files(&installed);
                installer.uninstall(&[]);
            }
        }
        installer.assert_files(&installed);
        installer.uninstall(&[]);
        installer.assert_files(&before);
    }
    assert!(kills > 30, "it was killed {kills} times only");
    assert!(seen.len() > 8, "it was in {} states only", seen.len());
}

#[test]
fn an_uninstallation_killed_at_any_call_is_ended_or_taken_back() {
    let (installer, before, installed) = to_be_killed();
    let etc = installer.layout.directory().join("etc");
    installer.run(&[]);
    let mut seen = BTreeSet::from([state(&etc)]);
    let mut kills = 0;
    for call in CHANGES {
        for number in 1.. {
            if !killed(&installer.postfix("uninstall"), call, number) {
                break;
            }
            kills += 1;
            assert_whole(&installer, &before, &installed);
            if seen.insert(state(&etc)) {
                installer.run(&[]);
                installer.assert_files(&installed);
                killed(&installer.postfix("uninstall"), call, number);
                installer.uninstall(&[]);
                installer.assert_files(&before);
                assert!(installer.is_gone());
                installer.run(&[]);
            }
        }
        installer.assert_files(&before);
        assert!(installer.is_gone());
        installer.run(&[]);
    }
    assert!(kills > 30, "it was killed {kills} times only");
    assert!(seen.len() > 8, "it was in {} states only", seen.len());
}
