//! Lets one run at a time change the files of one Postfix.

use std::{
    fs::{File, OpenOptions},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::geteuid,
};

use super::{WiringError, kept::Changed};

/// Longest wait for another run. A killed run's postconf may still be at work.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to change the files, held until it is dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock goes when the file closes")] File);

impl Lock {
    /// Takes the lock, after it has verified that all files can be written.
    pub(super) fn take(directory: &Path, config: &Path) -> Result<Self, WiringError> {
        if !geteuid().is_root() {
            return WiringError::refused(format!(
                "only root may change {}: run this as root or with sudo; --dry-run needs neither",
                directory.display()
            ));
        }
        let files = [Changed::Main, Changed::Master].map(|file| directory.join(file.name()));
        for file in files.iter().map(AsRef::as_ref).chain([config]) {
            if !file.exists() {
                continue;
            }
            if let Err(error) = OpenOptions::new().append(true).open(file) {
                return WiringError::refused(format!(
                    "{} can't be written: {error}; nothing was changed",
                    file.display()
                ));
            }
        }
        let file = File::open(directory).map_err(WiringError::file(directory, "opened"))?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(error) => {
                    return WiringError::refused(format!(
                        "another run is at work in {} ({error}); wait until it has ended",
                        directory.display()
                    ));
                }
            }
        }
    }
}
