//! Runs Python for tests. Its `email` package shares no code with this crate,
//! and requesters' programs use it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Runs a script that reads and writes JSON. Fails if python3 is missing.
pub(super) fn run<I: Serialize, O: DeserializeOwned>(script: &str, input: &I) -> O {
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs python3");
    let mut stdin = python.stdin.take().unwrap();
    let input = serde_json::to_vec(input).unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the script failed");
    serde_json::from_slice(&output.stdout).unwrap()
}
