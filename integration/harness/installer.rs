//! `kms-gateway postfix` on a site whose Postfix has no gateway yet.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use super::{Layout, Output, output, run};

/// The files that the installer may change, each with what is in it.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The admin of a site, who adds the gateway to it.
pub struct Installer {
    pub layout: Layout,
}

impl Installer {
    /// Postfix as Debian installs it.
    pub fn on_debian() -> Self {
        let layout = Layout::new();
        let read = |name: &str| fs::read_to_string(format!("/usr/share/postfix/{name}"));
        layout.replace_postfix(
            &read("main.cf.debian").expect("Debian's main.cf"),
            &read("master.cf.dist").expect("Debian's master.cf"),
        );
        // As its postinst does.
        layout.set_postfix("recipient_delimiter=+");
        layout.set_postfix(
            "smtpd_relay_restrictions=permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
        );
        Self { layout }
    }

    /// Takes the gateway out again, and gives all that is said.
    pub fn uninstall(&self, arguments: &[&str]) -> String {
        let mut command = self.postfix("uninstall");
        let Output {
            code,
            stdout,
            stderr,
        } = output(command.args(arguments), b"");
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        stdout + &stderr
    }

    /// The lines that `postfix check` prints; none if it finds nothing.
    pub fn differences(&self) -> Vec<String> {
        let Output {
            code,
            stdout,
            stderr,
        } = output(&mut self.postfix("check"), b"");
        match code {
            Some(0) => Vec::new(),
            Some(1) if stderr.is_empty() => stdout.lines().map(str::to_owned).collect(),
            _ => panic!("{stdout}{stderr}"),
        }
    }

    /// The installer with `arguments`, to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.postfix("install");
        command
            .arg("--internal")
            .arg(self.layout.port(18026).to_string())
            .args(arguments);
        command
    }

    /// `kms-gateway postfix` with an action.
    pub fn postfix(&self, action: &str) -> Command {
        self.settle();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
        command
            .arg("--config")
            .arg(self.layout.config())
            .args(["postfix", action, "--config-directory"])
            .arg(self.layout.directory().join("etc"));
        command
    }

    /// Runs it, which must succeed, and gives all that it says.
    pub fn run(&self, arguments: &[&str]) -> String {
        let Output {
            code,
            stdout,
            stderr,
        } = output(&mut self.command(arguments), b"");
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        stdout + &stderr
    }

    /// Runs it, which must refuse and change nothing, and gives the reason.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let (before, was_gone) = (self.files(), self.is_gone());
        let Output {
            code,
            stdout,
            stderr,
        } = output(&mut self.command(arguments), b"");
        assert_eq!(code, Some(1), "{stdout}{stderr}");
        self.assert_files(&before);
        assert_eq!(self.is_gone(), was_gone, "something was left behind");
        stderr
    }

    /// Makes Postfix's files a minute old. Postfix's programs wait for a second
    /// before they read a file that was changed this moment.
    pub fn settle(&self) {
        let then = SystemTime::now() - Duration::from_mins(1);
        for name in ["main.cf", "master.cf"] {
            let path = self.layout.postfix_file(name);
            if let Ok(file) = File::options().append(true).open(path) {
                file.set_modified(then).expect("its time");
            }
        }
    }

    /// The contents of main.cf, master.cf and gateway.toml.
    pub fn files(&self) -> Files {
        let layout = &self.layout;
        ["main.cf", "master.cf"]
            .map(|name| layout.postfix_file(name))
            .into_iter()
            .chain([layout.config()])
            .map(|file| (file.clone(), fs::read(file).expect("a file")))
            .collect()
    }

    #[track_caller]
    pub fn assert_files(&self, expected: &Files) {
        for (file, content) in self.files() {
            let (found, expected) = (
                String::from_utf8_lossy(&content),
                String::from_utf8_lossy(&expected[&file]),
            );
            assert_eq!(found, expected, "{}", file.display());
        }
    }

    /// Whether it keeps nothing any more.
    pub fn is_gone(&self) -> bool {
        !self.layout.postfix_file("kms-gateway").exists()
    }

    /// The entry of a service in master.cf.
    pub fn service(&self, name: &str) -> String {
        let etc = self.layout.directory().join("etc");
        run(
            Command::new("postconf")
                .arg("-c")
                .arg(etc)
                .arg("-M")
                .arg(name),
            b"",
        )
    }

    /// Adds lines to a file of Postfix's, as an editor does.
    pub fn edit(&self, name: &str, lines: &str) {
        let file = self.layout.postfix_file(name);
        let text = fs::read_to_string(&file).expect("the file");
        fs::write(file, text + lines).expect("the file");
    }
}

/// A directory to put first in the path, where `name` does something before it
/// is what it is.
pub fn shim(directory: &Path, name: &str, before: &str) -> String {
    let directory = directory.join("shims");
    fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join(name);
    let rest = "PATH=${PATH#*:}:/usr/sbin:/sbin";
    let script = format!("#!/bin/bash\n{before}\n{rest}\nexec {name} \"$@\"\n");
    fs::write(&file, script).expect("a script");
    fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("its mode");
    let path = std::env::var("PATH").expect("a path");
    format!("{}:{path}", directory.display())
}
