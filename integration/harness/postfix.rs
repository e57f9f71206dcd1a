//! The private Postfix.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{run, until};

/// Postfix's own limit for its end is 5 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// For all that an outage left in its queue.
const DELIVERY: Duration = Duration::from_secs(60);

/// `scripts/private-site` with `arguments`.
pub fn private_site(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/private-site"));
    command.args(arguments);
    command
}

/// A running Postfix. It ends when this value is dropped, and also when the
/// test's process ends in any other way: it lasts as long as a pipe is open.
pub struct Postfix {
    site: PathBuf,
    keeper: Child,
}

impl Postfix {
    /// Starts the Postfix of the site that lies at `site`.
    pub fn start(site: &Path) -> Self {
        let mut keeper = private_site(&["run", site.to_str().expect("a path in UTF-8")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C ends the test; the keeper then still has to end Postfix.
            .process_group(0)
            .spawn()
            .expect("scripts/private-site");
        let mut line = String::new();
        let stdout = keeper.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let postfix = Self {
            site: site.to_owned(),
            keeper,
        };
        assert_eq!(
            line,
            "running\n",
            "Postfix did not start:\n{}",
            postfix.log()
        );
        postfix
    }

    /// All that Postfix logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.site.join("log/mail.log")).unwrap_or_default()
    }

    /// The messages in the queue, as `postqueue -j` describes them.
    pub fn queue(&self) -> Vec<Value> {
        let listed = run(self.tool("postqueue").arg("-j"), b"");
        listed
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// Has Postfix offer deferred mail again at once.
    pub fn flush(&self) {
        run(self.tool("postqueue").arg("-f"), b"");
    }

    /// Has Postfix offer what waits until nothing is left. What was in the midst
    /// of an attempt at the time of one flush waits for another.
    pub fn deliver_all(&self) {
        until("Postfix's queue is empty", DELIVERY, || {
            let queue = self.queue();
            if queue.iter().any(|item| item["queue_name"] == "deferred") {
                self.flush();
            }
            queue.is_empty().then_some(())
        });
    }

    /// A Postfix command on this instance.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.arg("-c").arg(self.site.join("etc"));
        command
    }

    fn processes_left(&self) -> Vec<PathBuf> {
        let queue = self.site.join("queue");
        let Ok(processes) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        processes
            .filter_map(|entry| Some(entry.ok()?.path()))
            // A zombie has no working directory any more.
            .filter(|process| {
                fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&queue))
            })
            .collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        until("the end of Postfix's processes", PATIENCE, || {
            self.processes_left().is_empty().then_some(())
        });
    }
}
