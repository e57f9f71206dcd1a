//! `postfix/install` killed at any of its commands: whatever is not done yet the
//! next run does, or takes back.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::{fs, os::unix::process::ExitStatusExt, process::Stdio};

use harness::{Files, Installer, shim};

/// The installer, killed at its `number`th command that writes anything; none
/// if it has fewer.
fn killed(installer: &Installer, number: usize, arguments: &[&str]) -> bool {
    let directory = installer.layout.directory();
    let count = directory.join("commands");
    fs::write(&count, "0").expect("a counter");
    let before = format!(
        "n=$(($(<{count}) + 1)); echo $n >{count}; ((n != {number})) || kill -9 $PPID",
        count = count.display()
    );
    let mut path = String::new();
    for name in ["cp", "mv", "rm", "sync"] {
        path = shim(directory, name, &before);
    }
    let only_changes = format!("case $3 in -e | -X | -Me | -MX) {before} ;; esac");
    shim(directory, "postconf", &only_changes);
    let ended = installer
        .command(arguments)
        .env("PATH", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("it starts");
    assert!(ended.signal() == Some(9) || ended.success(), "{ended:?}");
    !ended.success()
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
    installer.run(&["--uninstall"]);
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
fn an_installation_killed_at_any_command_is_ended_or_taken_back() {
    let (installer, before, installed) = to_be_killed();
    let mut number = 1;
    while killed(&installer, number, &[]) {
        assert_whole(&installer, &before, &installed);
        installer.run(&["--uninstall"]);
        installer.assert_files(&before);
        assert!(installer.is_gone());
        killed(&installer, number, &[]);
        installer.run(&[]);
        installer.assert_files(&installed);
        installer.run(&["--uninstall"]);
        installer.assert_files(&before);
        number += 1;
    }
    assert!(number > 15, "it was killed {number} times only");
    installer.assert_files(&installed);
}

#[test]
fn an_uninstallation_killed_at_any_command_is_ended_or_taken_back() {
    let (installer, before, installed) = to_be_killed();
    let mut number = 1;
    installer.run(&[]);
    while killed(&installer, number, &["--uninstall"]) {
        assert_whole(&installer, &before, &installed);
        installer.run(&[]);
        installer.assert_files(&installed);
        killed(&installer, number, &["--uninstall"]);
        installer.run(&["--uninstall"]);
        installer.assert_files(&before);
        assert!(installer.is_gone());
        installer.run(&[]);
        number += 1;
    }
    assert!(number > 10, "it was killed {number} times only");
    installer.assert_files(&before);
    assert!(installer.is_gone());
}
