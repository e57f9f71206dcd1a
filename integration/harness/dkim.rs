//! DKIM by OpenDKIM: a domain's key, a milter that signs, one that verifies.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Draft, Mail, run, until};

const SELECTOR: &str = "gateway";

/// A domain's DKIM key, with OpenDKIM to sign and to verify by it.
pub struct DkimKey {
    domain: String,
    directory: PathBuf,
}

impl DkimKey {
    pub fn generate(site: &Path, domain: &str) -> Self {
        let directory = site.join(format!("dkim-{domain}"));
        fs::create_dir(&directory).expect("a directory");
        run(
            Command::new("opendkim-genkey")
                .current_dir(&directory)
                .args(["-d", domain, "-s", SELECTOR]),
            b"",
        );
        let record = fs::read_to_string(directory.join(format!("{SELECTOR}.txt"))).expect("it");
        // The TXT record stands in zone file syntax: a name and quoted strings.
        let text: String = record.split('"').skip(1).step_by(2).collect();
        fs::write(
            directory.join("dns"),
            format!("{SELECTOR}._domainkey.{domain} {text}\n"),
        )
        .expect("the record");
        Self {
            domain: domain.to_owned(),
            directory,
        }
    }

    /// A milter at `address` that signs, whoever the author is.
    pub fn sign_at(&self, address: SocketAddr) -> OpenDkim {
        OpenDkim::start(&self.signing(), address)
    }

    fn signing(&self) -> PathBuf {
        let domain = &self.domain;
        let key = self.directory.join(format!("{SELECTOR}.private"));
        let key = format!("own {domain}:{SELECTOR}:{}", key.display());
        let keys = self.configuration("keys", &[key]);
        let authors = self.configuration("authors", &["* own".to_owned()]);
        let lines = [
            "Mode s".to_owned(),
            format!("KeyTable file:{}", keys.display()),
            format!("SigningTable refile:{}", authors.display()),
            // The key lies below /tmp, where others may write.
            "RequireSafeKeys no".to_owned(),
        ];
        self.configuration("sign.conf", &lines)
    }

    /// A milter at `address` that verifies what comes from outside, and strips
    /// what outsiders write in its name.
    pub fn verify_at(&self, address: SocketAddr, authserv_id: &str) -> OpenDkim {
        let lines = [
            "Mode v".to_owned(),
            self.dns(),
            format!("AuthservID {authserv_id}"),
            "AlwaysAddARHeader yes".to_owned(),
            format!("RemoveARFrom {authserv_id}"),
            "RemoveARAll yes".to_owned(),
        ];
        OpenDkim::start(&self.configuration("milter.conf", &lines), address)
    }

    /// The message as the domain's own server sends it.
    pub fn signed(&self, draft: &Draft) -> Vec<u8> {
        let bytes = draft.to_bytes();
        let shown = self.tried(&self.signing(), &bytes);
        let (_, value) = shown
            .split_once("hname='DKIM-Signature' hvalue='")
            .unwrap_or_else(|| panic!("no signature: {shown}"));
        let (value, _) = value.split_once('\'').expect("its end");
        let field = format!("DKIM-Signature: {}\r\n", value.replace('\n', "\r\n"));
        [field.as_bytes(), &bytes].concat()
    }

    /// OpenDKIM's result for the mail's signature by this key.
    pub fn verify(&self, mail: &Mail) -> String {
        let configuration = self.configuration("verify.conf", &["Mode v".to_owned(), self.dns()]);
        let shown = self.tried(&configuration, mail.as_queued());
        let (_, result) = shown
            .split_once("dkim=")
            .unwrap_or_else(|| panic!("no result: {shown}"));
        result
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect()
    }

    fn dns(&self) -> String {
        format!("TestDNSData file:{}", self.directory.join("dns").display())
    }

    /// OpenDKIM's output for a message that it only tries.
    fn tried(&self, configuration: &Path, message: &[u8]) -> String {
        let file = self.directory.join("message");
        fs::write(&file, message).expect("the message");
        run(
            Command::new("opendkim")
                .arg("-x")
                .arg(configuration)
                .args(["-vv", "-t"])
                .arg(file),
            b"",
        )
    }

    fn configuration(&self, name: &str, lines: &[String]) -> PathBuf {
        let file = self.directory.join(name);
        fs::write(&file, lines.join("\n") + "\n").expect("a configuration");
        file
    }
}

/// A running OpenDKIM, ended when dropped.
pub struct OpenDkim(Child);

impl OpenDkim {
    fn start(configuration: &Path, address: SocketAddr) -> Self {
        let child = Command::new("opendkim")
            .args(["-f", "-x"])
            .arg(configuration)
            .arg("-p")
            .arg(format!("inet:{}@{}", address.port(), address.ip()))
            .stdin(Stdio::null())
            .spawn();
        let running = Self(child.expect("opendkim"));
        until("opendkim listens", Duration::from_secs(20), || {
            TcpStream::connect(address).ok()
        });
        running
    }
}

impl Drop for OpenDkim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
