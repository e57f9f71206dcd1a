//! A file system that can be full.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use super::run;

/// A file system of its own, unmounted when this value is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(path: PathBuf, size: &str) -> Self {
        fs::create_dir(&path).expect("a directory");
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        run(
            mount
                .args(["-t", "tmpfs", "-o", &options, "kms-gateway-test"])
                .arg(&path),
            b"",
        );
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        run(
            Command::new("mount").args(["-o", &options]).arg(&self.0),
            b"",
        );
    }

    pub fn free(&self) -> u64 {
        let status = rustix::fs::statvfs(&self.0).expect("its state");
        status.f_bavail * status.f_frsize
    }

    /// Fills it up by a file that is none of the gateway's.
    pub fn fill(&self, leaving: u64) {
        let mut filler = File::create(self.filler()).expect("a file");
        let mut left = self.free().saturating_sub(leaving);
        while left > 0 {
            let piece = left.min(4096);
            if filler
                .write_all(&vec![0x5A; usize::try_from(piece).expect("it")])
                .is_err()
            {
                break;
            }
            left -= piece;
        }
    }

    pub fn make_room(&self) {
        fs::remove_file(self.filler()).expect("the file");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the gateway of a failed test still runs.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
