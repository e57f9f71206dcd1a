//! A certificate authority of a test's own, and the certificates that it makes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::run;

/// An authority whose files are in a directory.
pub struct Authority(PathBuf);

impl Authority {
    /// Makes the authority in a directory that exists.
    pub fn new(directory: &Path) -> Self {
        let authority = Self(directory.to_owned());
        let mut openssl = request("authority.key", "authority.pem", &authority.0);
        openssl.args(["-x509", "-days", "3650"]);
        run(&mut openssl, b"");
        authority
    }

    /// The file by which a client trusts its certificates.
    pub fn certificate(&self) -> PathBuf {
        self.0.join("authority.pem")
    }

    /// Makes a certificate for `name`, such as `IP:127.0.0.1` or `DNS:db1.example`, in
    /// `server.pem` of the same directory, and its key in `server.key`.
    pub fn certify(&self, name: &str) {
        run(&mut request("server.key", "server.csr", &self.0), b"");
        let mut openssl = Command::new("openssl");
        openssl
            .current_dir(&self.0)
            .args(["x509", "-req", "-days", "3650", "-extfile", "/dev/stdin"])
            .args(["-CA", "authority.pem", "-CAkey", "authority.key"])
            .args(["-in", "server.csr", "-out", "server.pem"]);
        run(
            &mut openssl,
            format!("subjectAltName = {name}\n").as_bytes(),
        );
    }
}

/// Asks for a certificate with a new key.
fn request(key: &str, out: &str, directory: &Path) -> Command {
    let mut openssl = Command::new("openssl");
    openssl
        .current_dir(directory)
        .args([
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-subj", "/CN=test", "-keyout", key, "-out", out]);
    openssl
}
