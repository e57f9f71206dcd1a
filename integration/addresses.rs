//! Whose mail is the gateway's, and what else an admin's Postfix does with
//! requests and replies: archives and signs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use harness::{ALICE, Draft, GATEWAY, Layout, Mail, run, until};

#[test]
fn the_gateway_knows_its_address_however_it_is_written() {
    let site = Layout::new().start();
    let spellings = [
        "gateway@kms.example.org",
        "GATEWAY@kms.example.org.",
        "Gateway@KMS.Example.ORG",
        "\"gateway\"@kms.example.org",
        "gateway+x@kms.example.org",
        "\"GateWay+a.b\"@KMS.example.org.",
    ];
    for (number, spelling) in spellings.iter().enumerate() {
        let subject = format!("{{KMS:Help}} {number}");
        // Both ways in: through the milter, and out of the queue.
        for (way, mut session) in [
            ("outer", site.smtp()),
            ("internal", site.smtp_without_milters()),
        ] {
            let subject = format!("{subject} {way}");
            let draft = Draft::request(&subject, "");
            let accepted = session.send(ALICE, &[spelling], &draft.to_bytes());
            assert_eq!(accepted.code, 250, "{spelling} {way}: {accepted:?}");
            site.mailbox(ALICE).wait_for_reply(&subject);
        }
    }
    // Neither is a copy left behind.
    assert!(site.mailbox(GATEWAY).mails().is_empty());
}

#[test]
fn to_is_compared_as_the_envelope_is() {
    let site = Layout::new().start();
    let spellings = [
        "<GATEWAY@KMS.Example.org>",
        "KMC <gateway+x@kms.example.org>",
        "\"gateway\"@kms.example.org",
    ];
    for (number, spelling) in spellings.iter().enumerate() {
        let draft = Draft::request(&format!("{{KMS:Help}} {number}"), "").with("To", spelling);
        let reply = site.ask(&draft);
        assert_eq!(reply.result()[0], "Success", "{spelling}");
    }
}

#[test]
fn an_archive_gets_its_copy() {
    let layout = Layout::new();
    layout.set_postfix("always_bcc=archive@kms.example.org");
    layout.set_gateway("milter", "keep_bcc", true);
    let site = layout.start();
    let request = Draft::request("{KMS:Help} for the archive", "");
    site.ask(&request);
    // The request and its reply.
    let archived = site.mailbox("archive").wait_for_count(2);
    let subjects: Vec<String> = archived
        .iter()
        .filter_map(|mail| mail.header("Subject"))
        .collect();
    assert!(
        subjects.contains(&"{KMS:Help} for the archive".to_owned()),
        "{subjects:?}"
    );
    assert!(
        subjects.contains(&"Auto: {KMS:Help} for the archive".to_owned()),
        "{subjects:?}"
    );
    assert!(site.mailbox(GATEWAY).mails().is_empty());
}

#[test]
fn a_signer_on_the_reply_port_signs_replies() {
    let layout = Layout::new();
    let signer = layout.port(8891);
    layout.set_postfix_service(18025, &format!("smtpd_milters=inet:{signer}"));
    let key = DkimKey::generate(layout.directory().join("dkim"));
    let _signing = key.sign_at(signer);
    let site = layout.start();
    let reply = site.ask(&Draft::request("{KMS:GetPublicKey} signed", ""));
    assert_eq!(key.verify(&reply), "pass");

    // A verifier that says so of anything would be none.
    let mut forged = reply.raw().to_vec();
    let fingerprint = forged
        .windows(11)
        .position(|text| text == b"Fingerprint")
        .unwrap();
    forged[fingerprint] = b'f';
    assert_eq!(key.verify(&Mail::new(forged)), "fail");
}

/// The site's DKIM key, with OpenDKIM to sign and to verify by it.
struct DkimKey {
    directory: PathBuf,
}

impl DkimKey {
    fn generate(directory: PathBuf) -> Self {
        fs::create_dir(&directory).unwrap();
        run(
            Command::new("opendkim-genkey")
                .current_dir(&directory)
                .args(["-d", "kms.example.org", "-s", "gateway"]),
            b"",
        );
        let record = fs::read_to_string(directory.join("gateway.txt")).unwrap();
        // The TXT record stands in zone file syntax: a name and quoted strings.
        let text: String = record.split('"').skip(1).step_by(2).collect();
        fs::write(
            directory.join("dns"),
            format!("gateway._domainkey.kms.example.org {text}\n"),
        )
        .unwrap();
        Self { directory }
    }

    fn configuration(&self, name: &str, lines: &[String]) -> PathBuf {
        let file = self.directory.join(name);
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        file
    }

    /// A signing milter at `address`.
    fn sign_at(&self, address: SocketAddr) -> Signer {
        let configuration = self.configuration(
            "sign.conf",
            &[
                "Mode s".to_owned(),
                "Domain kms.example.org".to_owned(),
                "Selector gateway".to_owned(),
                format!(
                    "KeyFile {}",
                    self.directory.join("gateway.private").display()
                ),
                // The key lies below /tmp, where others may write.
                "RequireSafeKeys no".to_owned(),
                format!("Socket inet:{}@{}", address.port(), address.ip()),
            ],
        );
        let child = Command::new("opendkim")
            .arg("-f")
            .arg("-x")
            .arg(configuration)
            .stdin(Stdio::null())
            .spawn();
        let signer = Signer(child.expect("opendkim"));
        until("opendkim listens", Duration::from_secs(20), || {
            TcpStream::connect(address).ok()
        });
        signer
    }

    /// What OpenDKIM says of the mail's signature by this key.
    fn verify(&self, mail: &Mail) -> String {
        let dns = format!("TestDNSData file:{}", self.directory.join("dns").display());
        let configuration = self.configuration("verify.conf", &["Mode v".to_owned(), dns]);
        let file = self.directory.join("mail");
        fs::write(&file, mail.as_queued()).unwrap();
        let shown = run(
            Command::new("opendkim")
                .arg("-x")
                .arg(configuration)
                .args(["-vv", "-t"])
                .arg(file),
            b"",
        );
        let (_, result) = shown
            .split_once("dkim=")
            .unwrap_or_else(|| unreachable!("no result: {shown}"));
        result
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect()
    }
}

/// A running OpenDKIM, ended when dropped.
struct Signer(Child);

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
