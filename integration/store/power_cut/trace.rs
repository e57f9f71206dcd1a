//! The calls of the gateway that matter after a power cut, in a trace of strace.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use super::disk::Disk;
use crate::harness::{Call, calls, run};

/// The calls that change files, and those by which the milter reads and answers.
const CALLS: &str = "trace=openat,creat,pwrite64,pwritev,pwritev2,write,writev,ftruncate,truncate,\
    fallocate,fdatasync,fsync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
    unlinkat,mkdir,mkdirat,rmdir,recvfrom,read,sendto,sendmsg";

/// milter's SMFIR_DISCARD, the answer to end-of-message for a request that was
/// taken.
const TAKEN: &str = r#""\0\0\0\1d""#;

/// A program's calls, as strace wrote them down.
pub struct Trace(pub String);

impl Trace {
    /// Runs a command to its end, which must be a good one.
    pub fn of(command: &Command, file: &Path) -> Self {
        let mut traced = Command::new("strace");
        traced.arg("-f").args(strace(file));
        traced.arg(command.get_program()).args(command.get_args());
        run(&mut traced, b"");
        Self(fs::read_to_string(file).expect("a trace"))
    }

    /// Applies the program's changes to these files.
    pub fn to(&self, mut disk: Disk) -> Disk {
        self.calls().iter().for_each(|call| disk.see(call));
        disk
    }

    /// In the order in which they were done, so that what one makes is there
    /// for the next.
    pub fn calls(&self) -> Vec<Call<'_>> {
        let mut calls = calls(&self.0);
        calls.sort_by_key(|call| call.ended);
        calls
    }

    pub fn lines(&self) -> usize {
        self.0.lines().count()
    }

    /// The markers of the requests that were answered, each with the line at
    /// which the answer began.
    pub fn answers(&self) -> Vec<(usize, String)> {
        let mut on_descriptor: BTreeMap<String, String> = BTreeMap::new();
        let mut answers = Vec::new();
        for call in self.calls() {
            let descriptor = call.descriptor().to_owned();
            match call.name {
                "recvfrom" | "read" => {
                    if let Some(marker) = markers(&call.arguments).pop() {
                        on_descriptor.insert(descriptor, marker);
                    }
                }
                "sendto" | "write" | "writev" | "sendmsg" if call.arguments.contains(TAKEN) => {
                    let marker = on_descriptor.remove(&descriptor);
                    answers.push((call.began, marker.expect("an answer has a message")));
                }
                _ => {}
            }
        }
        answers
    }
}

pub fn strace(file: &Path) -> Vec<&str> {
    let file = file.to_str().expect("a path in UTF-8");
    vec!["-y", "-s", "1000000", "-e", CALLS, "-o", file]
}

pub fn marker(number: usize) -> String {
    format!("marker-{number:04}-")
}

pub fn markers(text: &str) -> Vec<String> {
    let length = marker(0).len();
    text.match_indices("marker-")
        .filter_map(|(at, _)| text.get(at..at + length))
        .map(str::to_owned)
        .collect()
}
