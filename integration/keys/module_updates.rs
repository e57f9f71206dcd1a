//! Module updates (STS600-9-2 5.1.1, 8.2) by mail through a real Postfix: what
//! the STSA signs is applied, whoever sent it, and nothing else is.

use std::fs;

use serde_json::Value;

use crate::harness::{
    ALICE, DECLARED, Draft, GATEWAY, IndependentModule, Layout, Mail, Module, STSA, Site,
    SoftwareModule, Stsa, python, run, with_attachment, words,
};

fn ask(site: &Site, from: &str, draft: &Draft) -> Mail {
    let draft = draft.clone().with("From", from);
    let accepted = site.smtp().send(from, &[GATEWAY], &draft.to_bytes());
    assert_eq!(accepted.code, 250, "{accepted:?}");
    site.mailbox(from).wait_for_reply(draft.header("Subject"))
}

fn send_file(site: &Site, from: &str, number: u32, file: &[u8]) -> Mail {
    let subject = format!("{{KMS:SmUpdateStsEd2}} {number}");
    ask(site, from, &with_attachment(&subject, DECLARED, file))
}

fn code(mail: &Mail) -> String {
    mail.result()[..2].join(" ")
}

/// A module that the KMC doesn't know, with the registration for it.
fn stranger(layout: &Layout, stsa: &Stsa, name: &str) -> (SoftwareModule, String, String) {
    let module = SoftwareModule::unregistered(layout, name);
    let registration = layout
        .directory()
        .join(format!("gateway/{name}-registration.json"));
    let text = fs::read_to_string(&registration).expect("a registration");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let smid = json["smid"].as_str().expect("a text").to_owned();
    fs::copy(&registration, stsa.path(&format!("{name}.json"))).expect("a copy");
    (module, smid, format!("{name}.json=000439"))
}

fn request(site: &Site, module: &impl Module, number: u32) -> Mail {
    let public_key = site.layout.gateway(&["kmc", "public-key"]);
    let subject = format!("{{KMS:GetKlfStsEd2}} {number}");
    site.ask(&Draft::request(&subject, &module.request(&public_key)))
}

/// The log and the audit log name a module, authentic or not.
fn tells_of_the_module(site: &Site, smid: &str) {
    let (beginning, _) = smid.rsplit_once(':').expect("a checksum");
    let json = ["audit", "list", "--json", "--smid", beginning];
    let entries: Value = serde_json::from_str(&site.layout.gateway(&json)).expect("JSON");
    let word = |entry: &Value| match entry["event"].as_str() {
        Some("completed") => entry["code"].as_str().unwrap_or("Success").to_owned(),
        event => event.unwrap_or_default().to_owned(),
    };
    let words: Vec<String> = entries.as_array().expect("them").iter().map(word).collect();
    let refused = "EVkloadAuthentication";
    let expected = [refused, "kms-changed", "Success", "kms-changed", refused];
    assert_eq!(words, expected, "{entries:#}");
    for entry in entries.as_array().expect("them") {
        let is_answer = entry["event"] == "completed";
        assert_eq!(entry["smid"] == smid, is_answer, "{entry}");
    }
    let log = site.gateway.as_ref().expect("it runs").log();
    let line = format!("result=Error code={refused} smid={smid}");
    assert_eq!(log.matches(&line).count(), 2, "{log}");
}

#[test]
fn what_the_stsa_signs_is_applied_whoever_sent_it() {
    let layout = Layout::new();
    let stsa = Stsa::new(&layout);
    stsa.be_trusted(&layout);
    let (module, smid, added) = stranger(&layout, &stsa, "SM1");
    let site = layout.start();
    assert_eq!(
        code(&request(&site, &module, 1)),
        "Error EVkloadAuthentication"
    );

    let first = stsa.file(&site.layout, &["--serial", "1", "--add", &added]);
    let reply = send_file(&site, STSA, 1, &first);
    assert_eq!(reply.result()[0], "Success");
    assert!(
        reply.text().contains(&format!("Added:\n  {smid}")),
        "{}",
        reply.text()
    );
    let klf = request(&site, &module, 2);
    assert_eq!(module.open(&klf.attachment().2).len(), 2);

    // The same file again, with other line ends and by somebody else, does nothing.
    let again = String::from_utf8(first)
        .expect("ASCII")
        .replace("\r\n", "\n");
    let reply = send_file(&site, ALICE, 2, again.as_bytes());
    assert_eq!(reply.result()[0], "Success");
    assert!(reply.text().contains("already applied"), "{}", reply.text());

    // A sender other than the STSA learns nothing of modules.
    let revoked = format!("{smid}=Any");
    let second = stsa.file(&site.layout, &["--serial", "2", "--revoke", &revoked]);
    let reply = send_file(&site, ALICE, 3, &second);
    assert_eq!(reply.result()[0], "Success");
    assert!(!reply.text().contains("SMID"), "{}", reply.text());
    assert_eq!(
        code(&request(&site, &module, 3)),
        "Error EVkloadAuthentication"
    );

    let audit = site.layout.gateway(&["audit", "list", "--json"]);
    for word in [
        "update 1 by the STSA",
        "update 2 by the STSA",
        "active -> revoked",
    ] {
        assert!(audit.contains(word), "{word}: {audit}");
    }
    tells_of_the_module(&site, &smid);
    site.layout.gateway(&["audit", "verify"]);
}

#[test]
fn every_refusal_has_its_code_and_changes_nothing() {
    let layout = Layout::new();
    let trusted = Stsa::new(&layout);
    let stranger_key = Stsa::named(&layout, "somebody-else");
    trusted.be_trusted(&layout);
    let (_, smid, added) = stranger(&layout, &trusted, "SM1");
    fs::copy(trusted.path("SM1.json"), stranger_key.path("SM1.json")).expect("a copy");
    let site = layout.start();
    let modules = || site.layout.gateway(&["module", "list"]);
    let before = modules();
    let good = trusted.file(&site.layout, &["--serial", "1", "--add", &added]);

    let mut number = 0;
    let mut refused = |fields: &str, content: &[u8]| {
        number += 1;
        let subject = format!("{{KMS:SmUpdateStsEd2}} {number}");
        let reply = ask(&site, STSA, &with_attachment(&subject, fields, content));
        (code(&reply), reply.result())
    };
    let forged = stranger_key.file(&site.layout, &["--serial", "1", "--add", &added]);
    assert_eq!(refused(DECLARED, &forged).0, "Error EUpdateSignature");
    let mut changed = good.clone();
    let place = changed
        .windows(6)
        .position(|text| text == b"000439")
        .expect("an SGC");
    changed[place + 5] = b'8';
    assert_eq!(refused(DECLARED, &changed).0, "Error EUpdateFormat");
    let gap = trusted.file(&site.layout, &["--serial", "3", "--add", &added]);
    let (code_of_gap, result) = refused(DECLARED, &gap);
    assert_eq!(
        (code_of_gap.as_str(), result[3].as_str()),
        ("Error EUpdateSerial", "1")
    );
    let unknown = format!("{smid}=Any");
    let unknown = trusted.file(&site.layout, &["--serial", "1", "--revoke", &unknown]);
    assert_eq!(refused(DECLARED, &unknown).0, "Error EUpdateFormat");
    assert_eq!(refused(DECLARED, b"hello\r\n").0, "Error EUpdateFormat");

    // The type and the disposition decide (8.2).
    let of_type =
        "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=a.txt";
    assert_eq!(refused(of_type, &good).0, "Error EAttachmentType");
    let inline =
        "Content-Type: text/plain; name=a.txt\r\nContent-Disposition: inline; filename=a.txt";
    assert_eq!(refused(inline, &good).0, "Error EAttachmentMissing");
    let none = Draft::request("{KMS:SmUpdateStsEd2} none", "nothing\n");
    assert_eq!(code(&ask(&site, STSA, &none)), "Error EAttachmentMissing");

    assert_eq!(modules(), before);
    assert_eq!(send_file(&site, STSA, 99, &good).result()[0], "Success");
    assert_ne!(modules(), before);
}

/// Both ways, on both curves: what a program that shares no code with the
/// gateway makes is applied, and what the gateway makes is read by it.
#[test]
fn an_independent_program_makes_and_reads_update_files() {
    for curve in ["P-384", "P-256"] {
        let layout = Layout::with_curve(curve);
        let stsa = Stsa::new(&layout);
        stsa.be_trusted(&layout);
        let module = IndependentModule::unregistered(&layout, "90000001");
        let (_, _, added) = stranger(&layout, &stsa, "SM1");
        let kmc_key = stsa.path("kmc.pem");
        let passphrase = stsa.path("passphrase");
        layout.gateway(&[
            "kmc",
            "export",
            "--passphrase-file",
            &passphrase,
            "--out",
            &kmc_key,
        ]);

        let ours = stsa.file(&layout, &["--serial", "1", "--add", &added]);
        let mut read = python("harness/independent_module.py");
        read.args(["read-update", "-", "--stsa-public", &stsa.public_key]);
        read.args(["--kmc-key", &kmc_key, "--passphrase-file", &passphrase]);
        let shown = run(&mut read, &ours);
        let registration = fs::read_to_string(stsa.path("SM1.json")).expect("it");
        let registration: Value = serde_json::from_str(&registration).expect("JSON");
        for field in ["smid", "dak", "hardware"] {
            let value = registration[field].as_str().expect("a text");
            assert!(shown.contains(value), "{field}: {shown}");
        }

        let site = layout.start();
        assert_eq!(send_file(&site, STSA, 1, &ours).result()[0], "Success");
        let public_key = site.layout.gateway(&["kmc", "public-key"]);
        let mut make = python("harness/independent_module.py");
        make.args(words("update")).arg(module.state());
        make.args([
            "-",
            "--serial",
            "2",
            "--sgc",
            "000439",
            "--stsa-key",
            &stsa.path("stsa.pem"),
        ]);
        make.args(["--passphrase-file", &passphrase]);
        let theirs = run(&mut make, public_key.as_bytes());
        let reply = send_file(&site, STSA, 2, theirs.as_bytes());
        assert_eq!(reply.result()[0], "Success", "{curve}: {}", reply.text());
        let klf = request(&site, &module, 1);
        assert_eq!(module.open(&klf.attachment().2).len(), 2, "{curve}");
    }
}

/// Each answer rests on the tables as they stand when it is committed.
#[test]
fn a_module_revoked_meanwhile_gets_nothing() {
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 1);
    layout.set_gateway("throttle", "every", "6s");
    let module = SoftwareModule::new(&layout, "SM1");
    let public_key = layout.gateway(&["kmc", "public-key"]);
    let site = layout.start();
    let requests: Vec<Draft> = (0..2)
        .map(|number| {
            let subject = format!("{{KMS:GetKlfStsEd2}} {number}");
            Draft::request(&subject, &module.request(&public_key))
        })
        .collect();
    for draft in &requests {
        let taken = site.smtp().send(ALICE, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    let mailbox = site.mailbox(ALICE);
    let first = mailbox.wait_for_reply(requests[0].header("Subject"));
    assert_eq!(first.result()[0], "Success");
    // The second one waits for its turn.
    let listed = site.layout.gateway(&["module", "list"]);
    let smid = listed.split_whitespace().next().expect("an SMID");
    site.layout.gateway(&["module", "revoke", smid]);
    let expected = format!("Auto: {}", requests[1].header("Subject"));
    let second = mailbox.wait_for("the answer to the second", |mail| {
        mail.header("Subject").as_deref() == Some(&expected) && mail.result()[0] != "Notice"
    });
    assert_eq!(code(&second), "Error EVkloadAuthentication");
}
