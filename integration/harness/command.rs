//! Programs that run to their end.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// A program's output and exit code.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` with `input` to its end.
pub fn output(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A program that doesn't read its input closes it early: no error.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("the writer");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `command`, which must succeed, and gives its standard output.
pub fn run(command: &mut Command, input: &[u8]) -> String {
    let ended = output(command, input);
    assert_eq!(
        ended.code,
        Some(0),
        "{command:?}\n{}{}",
        ended.stdout,
        ended.stderr
    );
    ended.stdout
}

/// A Python program of `integration/`. `PYTHON` names another interpreter than
/// the first one of the path: it must have the `cryptography` package.
pub fn python(program: &str) -> Command {
    let mut command = Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("integration")
            .join(program),
    );
    command
}

/// A command line without quotes as its words.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
