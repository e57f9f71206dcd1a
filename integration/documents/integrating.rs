//! The examples of `docs/integrating.md` do what the guide says, at a mail
//! server as integrators have it: logins, STARTTLS, and IMAP over TLS.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::harness::{
    ALICE, BOB, Dovecot, GATEWAY, Layout, Module, Output, ReferenceKms, Site, SoftwareModule,
    output, until,
};

/// How long an example looks for its answer, in seconds.
const WAIT: &str = "60";
/// How long it rests between two looks.
const PAUSE: &str = "1";

const PATIENCE: Duration = Duration::from_secs(20);

/// An example, started as the guide says.
type Example = fn(&Desk<'_>, &Request<'_>) -> Command;

const EXAMPLES: [(&str, &str, Example); 2] = [
    ("request.py", ALICE, request_py),
    ("request.sh", BOB, request_sh),
];

/// An integrator's mailbox and working directory.
struct Desk<'a> {
    person: &'a str,
    site: &'a Site,
    dovecot: &'a Dovecot,
}

/// A request: its service, its text and its file.
#[derive(Default)]
struct Request<'a> {
    service: &'a str,
    body: Option<&'a Path>,
    attachment: Option<&'a Path>,
}

impl Desk<'_> {
    /// A file of this person's.
    fn file(&self, name: &str) -> PathBuf {
        let (local, _) = self.person.split_once('@').expect("an address");
        self.site.layout.directory().join(format!("{local}-{name}"))
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/examples")
        .join(name)
}

fn request_py(desk: &Desk<'_>, request: &Request<'_>) -> Command {
    let mut command = Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
    command
        .arg(example("request.py"))
        .args(["--gateway", GATEWAY, "--from", desk.person])
        .args(["--wait", WAIT, "--pause", PAUSE])
        .arg("--smtp")
        .arg(desk.site.layout.port(2525).to_string())
        .arg("--imap")
        .arg(desk.dovecot.address().to_string())
        .env("KMS_MAIL_PASSWORD", desk.dovecot.password())
        // The only authority that it trusts.
        .env("SSL_CERT_FILE", desk.dovecot.certificate());
    if let Some(body) = request.body {
        command.arg("--body").arg(body);
    }
    if let Some(attachment) = request.attachment {
        command.arg("--attachment").arg(attachment);
    }
    command.arg(request.service);
    command
}

fn request_sh(desk: &Desk<'_>, request: &Request<'_>) -> Command {
    let smtp = desk.site.layout.port(2525);
    let netrc = desk.file("netrc");
    let login = format!(
        "machine {} login {} password {}\n",
        smtp.ip(),
        desk.person,
        desk.dovecot.password()
    );
    fs::write(&netrc, login).expect("the login");
    let mut command = Command::new("sh");
    command
        .arg(example("request.sh"))
        .args([GATEWAY, desk.person])
        .arg(format!("smtp://{smtp}"))
        .arg(format!("imaps://{}", desk.dovecot.address()))
        .arg(request.service)
        .args(request.body)
        .args(request.attachment)
        .env("KMS_MAIL_NETRC", netrc)
        .env("KMS_MAIL_WAIT", WAIT)
        .env("KMS_MAIL_PAUSE", PAUSE)
        .env("CURL_CA_BUNDLE", desk.dovecot.certificate());
    command
}

/// Runs an example to its end, which must be a success, and gives the text of
/// the answer.
fn answer(mut command: Command) -> String {
    let ended = output(&mut command, b"");
    assert_eq!(ended.code, Some(0), "{command:?} {ended:?}");
    ended.stdout
}

#[test]
fn every_example_gets_what_it_asks_for_and_reads_an_error() {
    let layout = Layout::new();
    let dovecot = Dovecot::start(&layout);
    let site = layout.start();
    for (name, person, example) in EXAMPLES {
        let desk = Desk {
            person,
            site: &site,
            dovecot: &dovecot,
        };
        let ask = |service| Request {
            service,
            ..Request::default()
        };

        let help = answer(example(&desk, &ask("Help")));
        assert!(
            help.contains(GATEWAY) && help.contains("EServiceFailed"),
            "{name}: {help}"
        );

        let public_key = answer(example(&desk, &ask("GetPublicKey")));
        let module = SoftwareModule::new(&site.layout, &format!("9-{name}"));
        let (body, key_load_file) = (desk.file("request.txt"), desk.file("klf.txt"));
        fs::write(&body, module.request(&public_key)).expect("the request");
        let key_load = Request {
            service: "GetKlfStsEd2",
            body: Some(&body),
            attachment: Some(&key_load_file),
        };
        answer(example(&desk, &key_load));
        let keys = module.open(&fs::read(&key_load_file).expect("a key load file"));
        assert_eq!(keys.len(), 2, "{name}");

        // A request serves once.
        fs::remove_file(&key_load_file).expect("it was there");
        let refused = output(&mut example(&desk, &key_load), b"");
        assert_refused(name, &refused);
        assert!(!key_load_file.exists(), "{name}");
    }
}

/// Whether anything lies in the mailbox; what its owner has seen of it Dovecot
/// moves.
fn has_mail(site: &Site, person: &str) -> bool {
    let (local, _) = person.split_once('@').expect("an address");
    let maildir = site.layout.directory().join("mail").join(local);
    ["new", "cur"]
        .iter()
        .any(|part| fs::read_dir(maildir.join(part)).is_ok_and(|mut mails| mails.next().is_some()))
}

fn assert_refused(name: &str, refused: &Output) {
    assert_eq!(refused.code, Some(1), "{name}: {refused:?}");
    assert_eq!(refused.stdout, "", "{name}: {refused:?}");
    for part in ["EVkloadReplayed", "used before; generate a fresh VKLOADREQ"] {
        assert!(refused.stderr.contains(part), "{name}: {refused:?}");
    }
}

#[test]
fn every_example_tells_of_a_notice_and_waits_for_the_answer() {
    let (layout, mut kms) = ReferenceKms::impatient("1s", "1h");
    let dovecot = Dovecot::start(&layout);
    let site = layout.start();
    thread::scope(|scope| {
        let asked: Vec<_> = EXAMPLES
            .iter()
            .map(|(name, person, example)| {
                let desk = Desk {
                    person,
                    site: &site,
                    dovecot: &dovecot,
                };
                let request = Request {
                    service: "GetPublicKey",
                    ..Request::default()
                };
                let mut command = example(&desk, &request);
                (name, scope.spawn(move || output(&mut command, b"")))
            })
            .collect();
        for (_, person, _) in EXAMPLES {
            until("the notice", PATIENCE, || {
                has_mail(&site, person).then_some(())
            });
        }
        kms.start();
        for (name, example) in asked {
            let ended = example.join().expect("the example");
            assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
            assert!(ended.stderr.contains("Deferred"), "{name}: {ended:?}");
            assert!(ended.stdout.contains("PK.ECDH.1"), "{name}: {ended:?}");
        }
    });
}
