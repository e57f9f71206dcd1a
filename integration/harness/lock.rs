//! Another program on the gateway's database.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
};

use super::Layout;

/// The lock on the gateway's database that an administrator's tool may hold. It
/// ends when this value is dropped.
pub struct Lock(Child);

impl Lock {
    pub fn hold(layout: &Layout) -> Self {
        let mut sqlite = Command::new("sqlite3")
            .arg(layout.directory().join("gateway/gateway.sqlite3"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3");
        let stdin = sqlite.stdin.as_mut().expect("piped");
        stdin
            .write_all(b".timeout 5000\nBEGIN EXCLUSIVE;\nSELECT 'held';\n")
            .expect("sqlite3 reads");
        let mut held = [0; 5];
        let stdout = sqlite.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut held).expect("sqlite3 answers");
        assert_eq!(&held, b"held\n");
        Self(sqlite)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
