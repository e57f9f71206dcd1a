//! A bound on the memory of a process, as a container or systemd sets it.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use super::until;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A control group with a limit, gone when this value is dropped.
pub struct MemoryLimit(PathBuf);

impl MemoryLimit {
    /// Uses the version of control groups that this machine has.
    pub fn new(name: &str, bytes: u64) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let (parent, file) = match root.join("memory").is_dir() {
            true => (root.join("memory"), "memory.limit_in_bytes"),
            false => (root.to_owned(), "memory.max"),
        };
        let group = parent.join(format!("kms-gateway-{name}-{}", process::id()));
        fs::create_dir(&group).expect("root may make a control group");
        fs::write(group.join(file), bytes.to_string()).expect("a limit");
        Self(group)
    }

    /// The words to put before a command that is to run within it.
    pub fn launcher(&self) -> [String; 4] {
        let procs = self.0.join("cgroup.procs");
        let script = format!("echo $$ > {} && exec \"$@\"", procs.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = fs::remove_dir(&self.0);
            return;
        }
        until("the control group is empty", PATIENCE, || {
            fs::remove_dir(&self.0).ok()
        });
    }
}
