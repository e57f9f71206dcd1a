//! An external key management system: the gateway serves with no key of its
//! own, gives each request one answer however often it has to ask, and lets
//! nobody suffer from what is at the other end of the socket.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Command,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use kms_gateway::{
    faults::VARIABLE,
    sts::{PkEcdh, TypedRecord, single_in_mail, write_in_mail},
};
use serde_json::Value;

use crate::harness::{
    ALICE, BOB, Draft, GATEWAY, Impostor, IndependentModule, Layout, Mail, Module, ReferenceKms,
    Site, SoftwareModule, kms_gateway, python, run, until, words,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn klf_request(number: &str, record: &str) -> Draft {
    Draft::request(&format!("{{KMS:GetKlfStsEd2}} {number}"), record)
}

fn send(site: &Site, draft: &Draft) {
    let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
}

fn code(mail: &Mail) -> String {
    mail.result()[..2].join(" ")
}

/// The answer that `explain` predicts for a message.
fn predicted(layout: &Layout, draft: &Draft) -> Value {
    let file = layout.directory().join("message.eml");
    fs::write(&file, draft.to_bytes()).expect("a file");
    let path = file.to_str().expect("a path in UTF-8");
    let json = layout.gateway(&["explain", "--json", path]);
    let explained: Value = serde_json::from_str(&json).expect("JSON");
    explained["answer"].clone()
}

/// Nothing of what a KMC keeps is in the gateway's database.
fn assert_holds_no_key(layout: &Layout) {
    for table in [
        "kmc_keys",
        "modules",
        "module_sgcs",
        "vending_keys",
        "replay_marks",
        "klf_issues",
        "stsa_updates",
    ] {
        let count = layout.sqlite(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(count, "0\n", "{table}");
    }
}

#[test]
fn every_service_is_rendered_without_a_key_of_our_own() {
    for curve in ["P-384", "P-256"] {
        let (layout, mut kms) = ReferenceKms::laid_out(curve);
        kms.start();
        let ours = kms.module(&layout, "SM1");
        let (theirs, registration) = IndependentModule::with_registration(&layout, "90000001");
        kms.register(&registration);
        let site = layout.start();

        let help = site.ask(&Draft::request("{KMS:Help}", ""));
        assert!(help.text().contains("{KMS:GetKlfStsEd2}"));
        let public_key = site.ask(&Draft::request("{KMS:GetPublicKey}", "")).text();
        let shown: PkEcdh = single_in_mail(&public_key).expect("a public key");
        let own: PkEcdh = single_in_mail(&kms.public_key()).expect("a public key");
        assert_eq!(shown, own);

        let klf = site.ask(&klf_request("1", &ours.request(&public_key)));
        assert_eq!(ours.open(&klf.attachment().2), kms.vending_keys());
        let klf = site.ask(&klf_request("2", &theirs.request(&public_key)));
        assert_eq!(theirs.open(&klf.attachment().2), kms.vending_keys());

        assert_eq!(kms.history().len(), 2, "{curve}");
        assert_eq!(kms.asked("is-from-module"), 2);
        assert_holds_no_key(&site.layout);
        site.layout.gateway(&["audit", "verify"]);
        let audit = site.layout.gateway(&["audit", "list", "--json"]);
        assert!(audit.contains("000439/1 000439/2"), "{audit}");
    }
}

#[test]
fn every_refusal_has_its_code() {
    let (layout, mut kms) = ReferenceKms::laid_out("P-384");
    kms.start();
    let other = ReferenceKms::new(&layout, "other", "P-256");
    let (module, registration) = IndependentModule::with_registration(&layout, "90000001");
    kms.register(&registration);
    let (unable, registration) = IndependentModule::with_registration(&layout, "90000002");
    kms.command(&["add-module", &registration, "--sgc", "999999"]);
    let unknown = SoftwareModule::unregistered(&layout, "SM1");
    let revoked = kms.module(&layout, "SM2");
    let smid = smid(Path::new(&revoked.registration()));
    kms.command(&["revoke", &smid]);
    let public_key = kms.public_key();
    let at = |when: &str| {
        let mut date = Command::new("date");
        let time = run(date.args(["-u", "-d", when, "+%Y%m%dT%H%M%SZ"]), b"");
        module.request_at(&public_key, time.trim())
    };
    let used = module.request(&public_key);
    let site = layout.start();
    assert_eq!(site.ask(&klf_request("used", &used)).result()[0], "Success");

    let cases = [
        ("EVkloadExpired", at("2 days ago")),
        ("EVkloadFuture", at("tomorrow")),
        ("EVkloadKmc", module.request(&other.public_key())),
        ("EVkloadAuthentication", unknown.request(&public_key)),
        ("EVkloadAuthentication", revoked.request(&public_key)),
        (
            "EVkloadPublicKey",
            module.request(&with_point_of(&public_key, &other.public_key())),
        ),
        ("EVkloadReplayed", used),
        ("ENoVendingKeys", unable.request(&public_key)),
    ];
    for (number, (expected, record)) in cases.iter().enumerate() {
        let draft = klf_request(&number.to_string(), record);
        let state = fs::read(kms.state()).expect("its state");
        let predicted = predicted(&site.layout, &draft);
        assert_eq!(predicted["code"], *expected, "{predicted}");
        assert_eq!(fs::read(kms.state()).expect("its state"), state);
        let reply = site.ask(&draft);
        assert_eq!(code(&reply), format!("Error {expected}"));
    }
    let kmc = site.mailbox(ALICE).wait_for_reply("{KMS:GetKlfStsEd2} 2");
    let current: PkEcdh = single_in_mail(&public_key).expect("a public key");
    assert_eq!(kmc.result()[3], current.kmcid.to_string());

    // Foretelling a success has no effect either.
    let good = klf_request("good", &module.request(&public_key));
    let state = fs::read(kms.state()).expect("its state");
    assert_eq!(predicted(&site.layout, &good)["result"], "Success");
    assert_eq!(fs::read(kms.state()).expect("its state"), state);
    assert_eq!(site.ask(&good).result()[0], "Success");

    // Why a module is not authentic is for the audit log alone.
    let audit = site.layout.gateway(&["audit", "list", "--json"]);
    for detail in ["unknown module", "revoked module"] {
        assert!(audit.contains(detail), "{detail}: {audit}");
    }
    assert_eq!(kms.history().len(), 2);
    assert_holds_no_key(&site.layout);
}

fn smid(registration: &Path) -> String {
    let text = fs::read_to_string(registration).expect("a registration");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    json["smid"].as_str().expect("a text").to_owned()
}

/// The one key's name with the other's point, as nobody publishes it.
fn with_point_of(public_key: &str, other: &str) -> String {
    let other: PkEcdh = single_in_mail(other).expect("a public key");
    let named: PkEcdh = single_in_mail(public_key).expect("a public key");
    let mixed = PkEcdh {
        public_key: other.public_key,
        ..named
    };
    write_in_mail(&mixed.to_record())
}

#[test]
fn update_files_are_judged_by_the_external_system() {
    let (layout, mut kms) = ReferenceKms::laid_out("P-384");
    kms.start();
    let module = IndependentModule::unregistered(&layout, "90000001");
    let path = |name: &str| {
        let path = layout.directory().join(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let (key, passphrase) = (path("stsa.pem"), path("passphrase"));
    fs::write(&passphrase, "correct horse\n").expect("a passphrase");
    let mut new_key = kms_gateway(Path::new("/nonexistent"), &["update", "new-key"]);
    new_key.args(["--out", &key, "--passphrase-file", &passphrase]);
    let shown = run(&mut new_key, b"");
    let stsa = shown.split('"').nth(1).expect("a quoted key").to_owned();
    let file = |serial: &str| {
        let mut make = python("harness/independent_module.py");
        make.arg("update").arg(module.state()).arg("-");
        make.args(["--serial", serial, "--sgc", "000439"]);
        make.args(["--stsa-key", &key, "--passphrase-file", &passphrase]);
        run(&mut make, kms.public_key().as_bytes())
    };
    let (first, gap) = (file("1"), file("3"));
    let site = layout.start();
    let ask = |number: &str, file: &str| site.ask(&with_attachment(number, file));

    assert_eq!(code(&ask("nobody", &first)), "Error EUpdateSignature");
    kms.command(&["trust", &stsa]);
    assert_eq!(code(&ask("hello", "hello\r\n")), "Error EUpdateFormat");
    let refused = ask("gap", &gap).result();
    assert_eq!(
        (refused[1].as_str(), refused[3].as_str()),
        ("EUpdateSerial", "1")
    );
    let applied = ask("first", &first);
    assert_eq!(applied.result()[0], "Success");
    assert!(
        applied.text().contains("1 added, 0 revoked"),
        "{}",
        applied.text()
    );
    let again = ask("again", &first);
    assert!(again.text().contains("already applied"), "{}", again.text());

    let klf = site.ask(&klf_request("1", &module.request(&kms.public_key())));
    assert_eq!(module.open(&klf.attachment().2), kms.vending_keys());
    assert_holds_no_key(&site.layout);
}

/// An update file as 8.2 asks for it.
fn with_attachment(number: &str, file: &str) -> Draft {
    let body = format!(
        "--b\r\nContent-Type: text/plain\r\n\r\nRegards\r\n--b\r\n\
         Content-Type: text/plain; name=update.txt\r\n\
         Content-Disposition: attachment; filename=update.txt\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        run(Command::new("base64").arg("-w76"), file.as_bytes()).replace('\n', "\r\n")
    );
    Draft::request(&format!("{{KMS:SmUpdateStsEd2}} {number}"), "")
        .with("MIME-Version", "1.0")
        .with("Content-Type", "multipart/mixed; boundary=b")
        .with_body(body)
}

#[test]
fn killed_between_its_answer_and_our_commit_the_answer_is_the_same() {
    let (layout, mut kms) = ReferenceKms::impatient("15min", "1h");
    kms.start();
    let module = kms.module(&layout, "SM1");
    let public_key = kms.public_key();
    let mut site = layout.start();
    site.gateway_dies = true;
    for number in 1..=3 {
        assert!(site.gateway.take().expect("it runs").stop().success());
        let doom = format!("{VARIABLE}=AfterIssue:1");
        let doomed = site.layout.start_gateway_by(&["env", &doom]);
        let draft = klf_request(&number.to_string(), &module.request(&public_key));
        send(&site, &draft);
        assert_eq!(doomed.wait_for_end().signal(), Some(9));
        assert_eq!(
            (kms.asked("issue"), kms.history().len()),
            (2 * number - 1, number)
        );
        assert_eq!(site.layout.sqlite("SELECT count(*) FROM requests"), "1\n");

        // It has on disk what it answered.
        kms.stop();
        kms.start();
        site.gateway = Some(site.layout.start_gateway());
        let reply = site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
        let history = kms.history();
        assert_eq!((kms.asked("issue"), history.len()), (2 * number, number));
        let id = history[number - 1].split(' ').next().expect("an id");
        let answer = kms.command(&["show", "answer", id]);
        let (_, _, content) = reply.attachment();
        assert_eq!(content, answer.as_bytes(), "not the same bytes");
        assert_eq!(module.open(&content), kms.vending_keys());
    }
    assert_eq!(site.mailbox(ALICE).mails().len(), 3, "one reply a request");
    assert_holds_no_key(&site.layout);
    site.layout.gateway(&["audit", "verify"]);
}

/// An answer of no KMS, which must not get out.
const GARBAGE: &[u8] = b"{\"version\":1,\"answer\":\"TOP SECRET\"}\r\n\xff\x00";

#[test]
fn away_slow_or_talking_nonsense_it_makes_requests_wait_and_nothing_worse() {
    let (layout, mut kms) = ReferenceKms::impatient("4s", "1h");
    let module = kms.module(&layout, "SM1");
    let public_key = kms.public_key();
    let site = layout.start();
    let mut sent = Vec::new();
    let ask = |sent: &mut Vec<Draft>| {
        let draft = klf_request(&sent.len().to_string(), &module.request(&public_key));
        let begun = Instant::now();
        send(&site, &draft);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(4), "taken after {took:?}");
        sent.push(draft);
    };
    let log = || site.gateway.as_ref().expect("it runs").log();
    let logged = |what: &str| {
        let put_off = format!("the KMS at {}", kms.socket().display());
        until(what, PATIENCE, || {
            let log = log();
            let mut lines = log.lines();
            lines
                .any(|line| line.contains(&put_off) && line.contains(what))
                .then_some(())
        });
    };

    ask(&mut sent);
    logged("can't be connected to");
    Impostor::at(&kms.socket(), b"", Duration::from_secs(3600));
    ask(&mut sent);
    logged("acceptance_timeout");
    logged("the answer took longer than 1s");
    Impostor::at(&kms.socket(), GARBAGE, Duration::ZERO);
    ask(&mut sent);
    logged("does not follow the protocol");
    // A request that needs no key is answered. Only Alice's mail waits behind Alice's.
    let help = Draft::request("{KMS:Help}", "").with("From", BOB);
    let taken = site.smtp().send(BOB, &[GATEWAY], &help.to_bytes());
    assert_eq!(taken.code, 250, "{taken:?}");
    let helped = site.mailbox(BOB).wait_for_reply("{KMS:Help}");
    assert_eq!(helped.result()[0], "Success");

    for draft in &sent {
        let notice = site.mailbox(ALICE).wait_for_reply(draft.header("Subject"));
        assert_eq!(code(&notice), "Notice Deferred");
    }
    kms.start();
    for draft in &sent {
        let expected = format!("Auto: {}", draft.header("Subject"));
        site.mailbox(ALICE).wait_for("the answer", |mail| {
            mail.header("Subject").as_deref() == Some(&expected) && mail.result()[0] == "Success"
        });
    }
    let mails = site.mailbox(ALICE).mails();
    assert_eq!(mails.len(), 2 * sent.len(), "one notice and one answer");
    for mail in mails {
        let raw = String::from_utf8_lossy(mail.raw()).into_owned();
        assert!(
            !raw.contains("SECRET") && !raw.contains("kms.sock"),
            "{raw}"
        );
    }
    assert_eq!(kms.history().len(), sent.len());
    assert!(!log().contains("panicked"), "a panic");
}

/// How many senders wait for a key.
const WAITING: usize = 60;

/// Those on their way when the system is found away, one for each task of the
/// worker, and then one trial at a time, each twice as long after the one before.
const MOST_ATTEMPTS: usize = 4 + 10;

#[test]
fn a_system_that_hangs_is_tried_by_one_request_for_all() {
    let (layout, mut kms) = ReferenceKms::impatient("15min", "1h");
    let site = layout.start();
    let connections = Impostor::at(&kms.socket(), b"", Duration::from_secs(3600));
    for number in 0..WAITING {
        let from = ALICE.replace('@', &format!("+{number}@"));
        let draft = Draft::request("{KMS:GetPublicKey}", "").with("From", &from);
        let taken = site.smtp().send(&from, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    until("all were put off", PATIENCE, || {
        let queue = site.layout.gateway(&["queue", "list", "--json"]);
        let queue: Vec<Value> = serde_json::from_str(&queue).expect("an array");
        let is_put_off = |item: &Value| item["last_trouble"]["trouble"].is_string();
        (queue.len() == WAITING && queue.iter().all(is_put_off)).then_some(())
    });
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections <= MOST_ATTEMPTS, "{connections} attempts");
    let log = site.gateway.as_ref().expect("it runs").log();
    let lines = log.matches("put off").count();
    assert!(lines <= MOST_ATTEMPTS, "{lines} lines: {log}");

    kms.start();
    let answers = until("all are answered", PATIENCE, || {
        let mails = site.mailbox(ALICE).mails();
        (mails.len() == WAITING).then_some(mails)
    });
    assert!(answers.iter().all(|answer| answer.result()[0] == "Success"));
    println!("{WAITING} requests waited: {connections} attempts, {lines} lines");
}

#[test]
fn who_is_never_answered_is_told_that_it_failed() {
    let (layout, kms) = ReferenceKms::impatient("15min", "4s");
    let module = kms.module(&layout, "SM1");
    let record = module.request(&kms.public_key());
    let site = layout.start();
    let reply = site.ask(&klf_request("1", &record));
    assert_eq!(code(&reply), "Error EServiceFailed");
    let raw = String::from_utf8_lossy(reply.raw()).into_owned();
    assert!(!raw.contains("kms.sock"), "{raw}");
    let audit = site.layout.gateway(&["audit", "list", "--json"]);
    assert!(
        audit.contains("kms.sock"),
        "the audit log has the reason: {audit}"
    );
}

#[test]
fn a_slow_answer_is_one_attempt_however_short_the_lease() {
    let (layout, kms) = ReferenceKms::impatient("1h", "1h");
    layout.set_gateway("kms", "answer_timeout", "6s");
    layout.set_gateway("worker", "lease", "1s");
    layout.set_gateway("worker", "first_retry", "1h");
    layout.set_gateway("worker", "longest_retry", "1h");
    let module = kms.module(&layout, "SM1");
    let record = module.request(&kms.public_key());
    // It takes the question, and never answers.
    Impostor::at(&kms.socket(), b"", Duration::from_secs(3600));
    let site = layout.start();
    send(&site, &klf_request("1", &record));
    let put_off = until("the attempt has ended", PATIENCE, || {
        let queue = site.layout.gateway(&["queue", "list", "--json"]);
        let queue: Value = serde_json::from_str(&queue).expect("JSON");
        (queue[0]["state"] == "put-off").then(|| queue[0].clone())
    });
    assert_eq!(put_off["attempts"], 1, "{put_off}");
    let trouble = put_off["last_trouble"]["trouble"].as_str().expect("a text");
    assert!(trouble.contains("longer than 6s"), "{trouble}");
}

#[test]
fn commands_say_which_kms_is_in_use() {
    let (layout, mut kms) = ReferenceKms::laid_out("P-384");
    let socket = kms.socket().display().to_string();
    let away = layout.try_gateway(&["check"]);
    assert_eq!(away.code, Some(1), "{away:?}");
    assert!(
        away.stdout.contains(&format!("external, at {socket}")),
        "{away:?}"
    );
    assert!(away.stdout.contains("can't be connected to"), "{away:?}");
    kms.start();
    let there = layout.gateway(&["check"]);
    let key: PkEcdh = single_in_mail(&kms.public_key()).expect("a public key");
    assert!(
        there.contains(&format!("its public key: {}", key.kmcid)),
        "{there}"
    );

    for command in [
        "kmc init --create-master-secret --issuer A --name B --expires 20990101T000000Z",
        "kmc public-key",
        "module list",
        "vending-key list",
    ] {
        let refused = layout.try_gateway(&words(command));
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for part in ["kms.socket", &socket, "use the external system's own tools"] {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
    }

    let gateway = layout.start_gateway();
    until("it says which", PATIENCE, || {
        let said = gateway.log().contains(&format!("external, at {socket}"));
        said.then_some(())
    });
    assert_eq!(layout.gateway(&["senders", "list", "--json"]).trim(), "[]");
    assert!(gateway.stop().success());
    assert_holds_no_key(&layout);
    let again = layout.try_gateway(&["init"]);
    assert!(again.stderr.contains("exists already"), "{again:?}");
    let other = "5".repeat(64);
    fs::write(layout.directory().join("gateway/master.secret"), other).expect("a secret");
    let refused = layout.try_gateway(&["serve"]);
    assert!(refused.stderr.contains("master secret"), "{refused:?}");
}

#[test]
fn keys_that_are_left_behind_are_named() {
    let layout = Layout::new();
    layout.set_gateway("kms", "socket", "/nonexistent/kms.sock");
    let gateway = layout.start_gateway();
    let expected = "holds 1 KMC keys, 0 modules and 2 vending keys";
    gateway.wait_for_log(expected);
    assert!(gateway.stop().success());
}
