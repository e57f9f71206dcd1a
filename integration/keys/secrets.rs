//! Secrets stay where they are sealed: none of their bytes, in any spelling, is
//! in a log, the database, a backup, an export, a reply, an error, Postfix's
//! files or what the system shows of the process.

mod places;
mod sought;
mod vault;

use std::{fs, process::Command, time::Duration};

use serde_json::Value;

use self::{
    sought::{Sought, spellings},
    vault::{EXPORT_PASSPHRASE, IMPORTED, MISTYPED, Vault},
};
use crate::harness::{ALICE, BOB, CAROL, Draft, GATEWAY, Mail, Module, SoftwareModule, run, until};

#[test]
fn no_secret_is_anywhere_but_where_it_is_sealed() {
    let mut vault = Vault::new();
    let first = SoftwareModule::new(&vault.site.layout, "SM1");
    let second = SoftwareModule::unregistered(&vault.site.layout, "SM2");
    operate(&mut vault);
    correspond(&mut vault, &first, &second);
    vault.seek_all(&[&first, &second]);
    assert!(vault.sought.secrets >= 20, "{}", vault.sought.secrets);

    for line in [
        "audit list",
        "audit export --format jsonl",
        "audit export --format csv",
        "audit verify",
        "senders list",
        "module list",
        "vending-key list",
        "kmc public-key",
        "check",
    ] {
        vault.succeeds(line);
    }
    let backup = vault.file("backup.sqlite3");
    vault.succeeds(&format!("backup {}", backup.display()));

    let running = vault.places();
    assert_eq!(running.search(&vault.sought), [""; 0]);
    assert!(running.bytes() > 500_000, "{} bytes", running.bytes());
    let has = |name: &str| running.0.iter().any(|(place, _)| place.ends_with(name));
    for name in [
        "gateway.sqlite3",
        "-wal",
        "serve.log",
        "mail.log",
        "environ",
    ] {
        assert!(has(name), "{name} was not searched");
    }
    let gateway = vault.site.gateway.take().expect("it runs");
    assert!(gateway.stop().success());
    assert_eq!(vault.places().search(&vault.sought), [""; 0], "at rest");
    eprintln!(
        "{} secrets in {} spellings sought in {} places, {} bytes",
        vault.sought.secrets,
        vault.sought.needles.values().map(Vec::len).sum::<usize>(),
        running.0.len(),
        running.bytes()
    );
    the_search_finds_what_is_planted(&vault);
}

/// The commands of an operator, right and wrong.
fn operate(vault: &mut Vault) {
    let export = vault.write("export-passphrase", &format!("{EXPORT_PASSPHRASE}\n"));
    let wrong = vault.write("wrong-passphrase", "another\n");
    let imported = vault.write("imported", &format!("{IMPORTED}\n"));
    let mistyped = vault.write("mistyped", &format!("{MISTYPED}\n"));
    let pem = vault.file("kmc.pem").display().to_string();
    let attributes = "--kt 2 --dkga 02 --bdt 1993";
    vault.succeeds(&format!(
        "kmc export --passphrase-file {export} --out {pem}"
    ));
    vault.fails(&format!(
        "kmc init --issuer E --name K2 --expires 20990101T000000Z --import {pem} \
         --passphrase-file {wrong}"
    ));
    vault.fails(&format!(
        "kmc init --issuer E --name K2 --expires 20990101T000000Z --import {pem} \
         --passphrase-file {export}"
    ));
    vault.succeeds(&format!(
        "vending-key import --key-file {imported} --sgc 000439 --krn 3 {attributes}"
    ));
    vault.fails(&format!(
        "vending-key import --key-file {mistyped} --sgc 000439 --krn 4 {attributes}"
    ));
    vault.fails(&format!(
        "vending-key import --key-file {imported} --sgc 000439 --krn 3 {attributes}"
    ));
    let piped = format!("vending-key import --key-file - --sgc 000439 --krn 5 {attributes}");
    assert_eq!(vault.says(&piped, b"0123456789ABCDEF\n"), Some(0));

    // A registration that is none, and the DAK in the wrong place.
    let registration = vault.file("SM1-registration.json");
    let text = fs::read_to_string(&registration).expect("a registration");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let dak = json["dak"].as_str().expect("a DAK");
    for wrong in [
        format!("\"{dak}\""),
        format!("{{\"{dak}\": 1}}"),
        text.replace("\"dak\"", "\"DAK\""),
        text.replace(dak, &dak[1..]),
        dak.to_owned(),
    ] {
        let file = vault.write("bare-dak.json", &wrong);
        vault.fails(&format!("module add --registration {file} --sgc 000439"));
    }
    let known = registration.display().to_string();
    vault.fails(&format!("module add --registration {known} --sgc 000439"));
    vault.fails("secret rewrap --rekey");
}

/// Every kind of mail that the gateway gets and sends.
fn correspond(vault: &mut Vault, first: &SoftwareModule, second: &SoftwareModule) {
    let public_key = vault.site.layout.gateway(&["kmc", "public-key"]);
    vault.asks(ALICE, &Draft::request("{KMS:Help}", ""));
    vault.asks(ALICE, &Draft::request("{KMS:GetPublicKey}", ""));
    vault.asks(ALICE, &Draft::request("{KMS:Nothing}", ""));
    let request = first.request(&public_key);
    let issued = vault.asks_for_keys(1, &request);
    assert_eq!(first.open(&issued.attachment().2).len(), 4);
    let result = |mail: &Mail| mail.result()[1].clone();
    assert_eq!(result(&vault.asks_for_keys(2, &request)), "EVkloadReplayed");
    let broken = first.request(&public_key).replace("SOFT-1", "SOFT-2");
    assert_eq!(result(&vault.asks_for_keys(3, &broken)), "ERecordCrc");
    let unknown = second.request(&public_key);
    assert_eq!(
        result(&vault.asks_for_keys(4, &unknown)),
        "EVkloadAuthentication"
    );

    let update = update_file(vault, &public_key);
    let draft = with_attachment("{KMS:SmUpdateStsEd2} 1", &update);
    assert_eq!(vault.asks(CAROL, &draft).result()[0], "Success");
    let draft = with_attachment("{KMS:SmUpdateStsEd2} 2", &update.replace("ADD", "ADE"));
    assert_eq!(result(&vault.asks(CAROL, &draft)), "EUpdateFormat");
    let issued = vault.asks_for_keys(5, &second.request(&public_key));
    assert_eq!(second.open(&issued.attachment().2).len(), 4);

    // One that never is answered: its ephemeral key stays pending.
    first.request(&public_key);
    let mut smtp = vault.site.smtp();
    for number in 0..16 {
        let draft = Draft::request(&format!("{{KMS:Help}} {number}"), "").with("From", BOB);
        smtp.send(BOB, &[GATEWAY], &draft.to_bytes());
    }
    until("a notice", Duration::from_secs(60), || {
        let mails = vault.site.mailbox(BOB).mails();
        mails
            .iter()
            .any(|mail| mail.result()[..2] == ["Notice", "Deferred"])
            .then_some(())
    });
    let database = vault.file("gateway.sqlite3");
    let spool = run(
        Command::new("sqlite3")
            .arg(database)
            .arg("SELECT count(*) FROM requests"),
        b"",
    );
    assert_ne!(spool, "0\n", "some requests are still in the spool");
}

/// An update file that adds the second module, signed.
fn update_file(vault: &mut Vault, public_key: &str) -> String {
    let file = |name: &str| vault.file(name).display().to_string();
    let added = format!("{}=000439", file("SM2-registration.json"));
    let build = format!("update build --public-key - --serial 1 --add {added}");
    let sign = format!(
        "update sign --key {} --passphrase-file {} -",
        file("stsa.pem"),
        file("stsa-passphrase")
    );
    let newest = |vault: &Vault| {
        let (_, said) = vault.said.0.last().expect("it was said");
        String::from_utf8(said.clone()).expect("ASCII")
    };
    assert_eq!(vault.says(&build, public_key.as_bytes()), Some(0));
    let unsigned = newest(vault);
    assert_eq!(vault.says(&sign, unsigned.as_bytes()), Some(0));
    newest(vault)
}

/// A search that finds nothing proves nothing unless it would have found it.
fn the_search_finds_what_is_planted(vault: &Vault) {
    let master = fs::read_to_string(vault.file("master.secret")).expect("it");
    let master = hex::decode(master.trim_end()).expect("hex");
    // Each spelling, in a log and in a mail that wraps its lines. Raw bytes, some
    // of which may be line ends, are no text to wrap.
    for (form, text) in spellings(&master[..16]) {
        let beside = [b"before it ", text.as_slice(), b" after it"].concat();
        assert_found(&vault.sought, &beside, &form);
        if form == "raw" {
            continue;
        }
        for end in ["\r\n", "=\r\n", "\n"] {
            let wrapped: Vec<u8> = text
                .chunks(5)
                .flat_map(|line| [line, end.as_bytes()].concat())
                .collect();
            assert_found(&vault.sought, &wrapped, &form);
        }
    }
    // In a file of each kind; deleted, so that only the freelist has it.
    let log = vault.file("serve.log");
    let mut content = fs::read(&log).expect("a log");
    content.extend(format!("key={}\n", hex::encode(&master)).bytes());
    fs::write(&log, content).expect("written");
    let planted = hex::encode(&master);
    let statements = format!(
        "PRAGMA secure_delete = OFF; CREATE TABLE planted (a);
         INSERT INTO planted VALUES (x'{planted}'); DROP TABLE planted;"
    );
    let database = vault.file("gateway.sqlite3");
    run(Command::new("sqlite3").arg(&database).arg(statements), b"");
    let found = vault.places().search(&vault.sought);
    for expected in [
        format!("master secret hex in {}", log.display()),
        format!("master secret raw in {}", database.display()),
    ] {
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
}

fn assert_found(sought: &Sought, content: &[u8], form: &str) {
    let found = sought.found_in(content);
    let expected = format!("master secret {form}");
    assert!(found.contains(&expected), "{expected}: {found:?}");
}

fn with_attachment(subject: &str, content: &str) -> Draft {
    let body = format!(
        "--b\r\nContent-Type: text/plain\r\n\r\nRegards\r\n--b\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\
         Content-Disposition: attachment; filename=update.txt\r\n\r\n{content}\r\n--b--\r\n"
    );
    Draft::request(subject, "")
        .with("MIME-Version", "1.0")
        .with("Content-Type", "multipart/mixed; boundary=b")
        .with_body(body)
}
