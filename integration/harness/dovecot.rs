//! The mail server that an integrator has: logins and STARTTLS at a port of
//! Postfix's, and the same mailboxes by IMAP over TLS, from a real Dovecot.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Layout, run, until};

const PATIENCE: Duration = Duration::from_secs(20);
/// The password of every mailbox.
const PASSWORD: &str = "correct-horse";

/// Dovecot with a certificate of its own. It ends when this value is dropped.
pub struct Dovecot {
    child: Child,
    address: SocketAddr,
    certificate: PathBuf,
}

impl Dovecot {
    /// Serves the mailboxes of a site that is not yet started, and lets its
    /// public listener ask who may log in.
    pub fn start(layout: &Layout) -> Self {
        let directory = layout.directory().join("dovecot");
        fs::create_dir(&directory).expect("a directory");
        let address = layout.port(1993);
        let certificate = make_certificate(&directory, address);
        let configuration = directory.join("dovecot.conf");
        fs::write(&configuration, settings(layout, &directory, address)).expect("its settings");
        let_postfix_use(layout, &directory);
        let log = File::create(directory.join("output")).expect("a log file");
        let mut command = Command::new("/usr/sbin/dovecot");
        command.arg("-F").arg("-c").arg(&configuration);
        let child = command
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("the log file"))
            .stdout(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Self {
            child,
            address,
            certificate,
        };
        until("Dovecot serves", PATIENCE, || {
            let ended = server.child.try_wait().expect("its state");
            assert!(ended.is_none(), "{}", server.log(&directory));
            TcpStream::connect(address).ok()
        });
        server
    }

    /// The address of the IMAP server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate by which a client trusts this server.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The password of every mailbox.
    pub fn password(&self) -> &str {
        PASSWORD
    }

    fn log(&self, directory: &Path) -> String {
        ["output", "log"]
            .map(|name| fs::read_to_string(directory.join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // It ends its own processes, which a kill would leave behind.
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// A certificate for this address, which is its own authority.
fn make_certificate(directory: &Path, address: SocketAddr) -> PathBuf {
    let certificate = directory.join("certificate.pem");
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args([
            "-nodes",
            "-days",
            "3650",
            "-subj",
            "/CN=mail.vendor.example",
            "-addext",
        ])
        .arg(format!("subjectAltName=IP:{}", address.ip()))
        .arg("-keyout")
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(&certificate);
    run(&mut openssl, b"");
    certificate
}

fn settings(layout: &Layout, directory: &Path, address: SocketAddr) -> String {
    // virtual(8) delivers as this user, who reads here as well.
    let owner = fs::metadata(layout.directory().join("mail")).expect("the mailboxes");
    format!(
        "base_dir = {run}\n\
         state_dir = {run}\n\
         log_path = {own}/log\n\
         protocols = imap\n\
         listen = {ip}\n\
         ssl = required\n\
         ssl_cert = <{own}/certificate.pem\n\
         ssl_key = <{own}/key.pem\n\
         first_valid_uid = 0\n\
         first_valid_gid = 0\n\
         mail_location = maildir:{site}/mail/%n\n\
         auth_mechanisms = plain login\n\
         passdb {{\n  driver = static\n  args = password={PASSWORD}\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={site}/mail/%n\n}}\n\
         service imap-login {{\n  inet_listener imap {{\n    port = 0\n  }}\n  \
         inet_listener imaps {{\n    port = {port}\n  }}\n}}\n\
         service auth {{\n  unix_listener {own}/auth {{\n    mode = 0666\n  }}\n}}\n",
        run = directory.join("run").display(),
        own = directory.display(),
        site = layout.directory().display(),
        ip = address.ip(),
        port = address.port(),
        uid = owner.uid(),
        gid = owner.gid(),
    )
}

/// As a vendor's mail server: who logs in may send, and logs in over TLS only.
fn let_postfix_use(layout: &Layout, directory: &Path) {
    let own = directory.display();
    layout.add_postfix_service("tlsmgr/unix=tlsmgr unix - - n 1000? 1 tlsmgr");
    for parameter in [
        format!("smtpd_tls_cert_file={own}/certificate.pem"),
        format!("smtpd_tls_key_file={own}/key.pem"),
        "smtpd_tls_security_level=may".to_owned(),
        "smtpd_tls_auth_only=yes".to_owned(),
        "smtpd_sasl_auth_enable=yes".to_owned(),
        "smtpd_sasl_type=dovecot".to_owned(),
        format!("smtpd_sasl_path={own}/auth"),
    ] {
        layout.set_postfix_service(2525, &parameter);
    }
}
