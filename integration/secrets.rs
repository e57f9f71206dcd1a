//! Secrets stay where they are sealed: none of their bytes, in any spelling, is
//! in a log, the database, a backup, an export, a reply, an error, Postfix's
//! files or what the system shows of the process.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use harness::{
    ALICE, BOB, CAROL, Draft, GATEWAY, Layout, Mail, Module, Site, SoftwareModule, kms_gateway,
    run, until, words,
};
use kms_gateway::{
    kms::{KmsTables, MasterSecret, PrivateKey, StorageKey, primitives::hkdf_sha384},
    store::{Store, StoreSettings},
};
use serde_json::Value;
use zeroize::Zeroizing;

// What is sought.

/// Secrets in every spelling that a formatter, an encoder or a slip could give
/// them.
#[derive(Default)]
struct Sought {
    /// By their first bytes, so that one pass finds all.
    needles: HashMap<[u8; Self::BEGINNING], Vec<(String, Vec<u8>)>>,
    secrets: usize,
}

impl Sought {
    const BEGINNING: usize = 8;

    /// A key. A half of it is too much already.
    fn add(&mut self, name: &str, key: &[u8]) {
        assert!(key.len() >= 8, "{name} is too short to be told from chance");
        self.secrets += 1;
        let halves = if key.len() < 16 {
            vec![key]
        } else {
            let (left, right) = key.split_at(key.len() / 2);
            vec![left, right]
        };
        for half in halves {
            for (form, needle) in spellings(half) {
                self.needle(&format!("{name} {form}"), needle);
            }
        }
    }

    /// A passphrase, whole.
    fn add_text(&mut self, name: &str, text: &str) {
        self.secrets += 1;
        for (form, needle) in spellings(text.as_bytes()) {
            self.needle(&format!("{name} {form}"), needle);
        }
    }

    fn needle(&mut self, name: &str, needle: Vec<u8>) {
        let beginning = *needle.first_chunk().expect("long enough");
        let entry = (name.to_owned(), needle);
        self.needles.entry(beginning).or_default().push(entry);
    }

    /// What is found in `content`, as it is and with its lines joined.
    fn found_in(&self, content: &[u8]) -> Vec<String> {
        let text_without = |unwanted: &[&[u8]]| {
            let mut joined = Vec::with_capacity(content.len());
            let mut rest = content;
            while let Some(byte) = rest.first() {
                match unwanted.iter().find(|text| rest.starts_with(text)) {
                    Some(text) => rest = &rest[text.len()..],
                    None => {
                        joined.push(*byte);
                        rest = &rest[1..];
                    }
                }
            }
            joined
        };
        let joined = text_without(&[b"=\r\n", b"=\n", b"\r", b"\n"]);
        let mut found = self.found_exactly(content);
        found.extend(self.found_exactly(&joined));
        found.sort();
        found.dedup();
        found
    }

    fn found_exactly(&self, content: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for place in 0..content.len().saturating_sub(Self::BEGINNING - 1) {
            let rest = &content[place..];
            let Some(needles) = rest
                .first_chunk::<{ Self::BEGINNING }>()
                .and_then(|beginning| self.needles.get(beginning))
            else {
                continue;
            };
            let there = needles
                .iter()
                .filter(|(_, needle)| rest.starts_with(needle));
            found.extend(there.map(|(name, _)| name.clone()));
        }
        found
    }
}

/// Raw, hexadecimal, base64 wherever it begins in a longer text, and as `Debug`
/// shows a list of bytes.
fn spellings(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    const STANDARD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let url_safe = STANDARD.replace("+/", "-_");
    let decimals: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let mut spellings = vec![
        ("raw".to_owned(), bytes.to_vec()),
        ("hex".to_owned(), hex::encode(bytes).into_bytes()),
        ("HEX".to_owned(), hex::encode_upper(bytes).into_bytes()),
        ("list".to_owned(), decimals.join(", ").into_bytes()),
    ];
    for (name, alphabet) in [("base64", STANDARD), ("base64url", &url_safe)] {
        for offset in 0..3 {
            let text = base64_within(bytes, offset, alphabet.as_bytes());
            spellings.push((format!("{name}+{offset}"), text));
        }
    }
    spellings
}

/// Those characters of a base64 text that `bytes` alone decide, where `offset`
/// bytes stand before them.
fn base64_within(bytes: &[u8], offset: usize, alphabet: &[u8]) -> Vec<u8> {
    let padded = [&vec![0; offset], bytes].concat();
    let bit = |number: usize| padded[number / 8] >> (7 - number % 8) & 1;
    let characters = (offset * 8).div_ceil(6)..padded.len() * 8 / 6;
    let value = |character: usize| (0..6).fold(0, |value, at| value << 1 | bit(6 * character + at));
    characters
        .map(|character| alphabet[usize::from(value(character))])
        .collect()
}

// Where it is sought.

/// Everything that is searched, by name.
#[derive(Default)]
struct Places(Vec<(String, Vec<u8>)>);

impl Places {
    fn add(&mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.push((name.into(), content.into()));
    }

    /// The regular files below a directory, but for those of these names.
    fn add_files(&mut self, directory: &Path, but: &[&str]) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path);
            // A queue's file may go away meanwhile.
            let Ok(metadata) = metadata else { continue };
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if metadata.is_dir() {
                self.add_files(&path, but);
            } else if metadata.is_file()
                && !but.contains(&name)
                && let Ok(content) = fs::read(&path)
            {
                self.add(path.display().to_string(), content);
            }
        }
    }

    /// Where what was found: none of the secrets may be anywhere.
    fn search(&self, sought: &Sought) -> Vec<String> {
        let in_place = |(name, content): &(String, Vec<u8>)| {
            let found = sought.found_in(content).into_iter();
            found
                .map(|what| format!("{what} in {name}"))
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(in_place).collect()
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, content)| content.len()).sum()
    }
}

/// A site with everything that has secrets.
struct Vault {
    site: Site,
    said: Places,
    sought: Sought,
}

const STSA_PASSPHRASE: &str = "correct horse of the STSA";
const EXPORT_PASSPHRASE: &str = "battery staple of the KMC";
/// Odd parity and not weak, as import wants it.
const IMPORTED: &str = "37BAECCB34029161";
/// The last digit is mistyped.
const MISTYPED: &str = "5B9DA1D3C7EF6E2B";

impl Vault {
    fn new() -> Self {
        let layout = Layout::new();
        layout.set_gateway("log", "level", "debug");
        layout.set_gateway("throttle", "at_once", 12);
        Self {
            site: {
                let stsa = stsa_key(&layout);
                trust(&layout, &stsa);
                layout.start()
            },
            said: Places::default(),
            sought: Sought::default(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.site.layout.directory().join("gateway").join(name)
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.file(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// Runs a command to whatever end and keeps what it said.
    fn says(&mut self, line: &str, input: &[u8]) -> Option<i32> {
        let mut command = kms_gateway(&self.site.layout.config(), &words(line));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        {
            use std::io::Write as _;
            let mut stdin = child.stdin.take().expect("piped");
            // A program that doesn't read its input closes it early: no error.
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output().expect("its output");
        self.said.add(
            format!("kms-gateway {line}"),
            [output.stdout, output.stderr].concat(),
        );
        output.status.code()
    }

    fn succeeds(&mut self, line: &str) {
        assert_eq!(self.says(line, b""), Some(0), "{line}");
    }

    fn fails(&mut self, line: &str) {
        assert_eq!(self.says(line, b""), Some(1), "{line}");
    }

    /// The database is opened as the gateway opens it, and what is sealed is
    /// opened too.
    fn seek_all(&mut self, modules: &[&SoftwareModule]) {
        let sought = &mut self.sought;
        let gateway = self.site.layout.directory().join("gateway");
        let master_file = gateway.join("master.secret");
        let text = fs::read_to_string(&master_file).expect("the master secret");
        let master_bytes = hex::decode(text.trim_end()).expect("hex");
        sought.add("master secret", &master_bytes);
        let master = MasterSecret::from_file(&master_file).expect("it");
        for label in ["storage-key", "audit-chain"] {
            sought.add(label, master.derive(label).expose());
        }
        let database = gateway.join("gateway.sqlite3");
        let storage_key = unwrapped_storage_key(&database, master.derive("storage-key").expose());
        sought.add("storage key", &storage_key);

        let settings = StoreSettings::new(&database);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let store = Store::open(&settings, None).await.expect("the store");
            let key = StorageKey::open_or_create(store.as_ref(), &master).await;
            let key = key.expect("the storage key");
            for row in store.kmc_keys().await.expect("rows") {
                let scalar = row.open(&key).expect("it opens").to_scalar();
                sought.add("KMC private key", scalar.expose());
            }
            for row in store.modules().await.expect("rows") {
                let dak = row.open(&key).expect("it opens");
                sought.add("DAK", dak.expose());
                let derived = hkdf_sha384::<48>(dak.expose(), b"", b"STSGW-REQ-MAC-1");
                sought.add("K_req", derived.expose());
                let derived = hkdf_sha384::<32>(dak.expose(), b"", b"STSGW-KLF-DAK-1");
                sought.add("K_dak", derived.expose());
            }
            for row in store.vending_keys().await.expect("rows") {
                let vending_key = row.open(&key).expect("it opens");
                sought.add("vending key", vending_key.expose());
            }
            store.close().await;
        });

        sought.add("mistyped key", &hex::decode(MISTYPED).expect("hex"));
        for module in modules {
            let state = fs::read(module.state()).expect("its state");
            let state: Value = serde_json::from_slice(&state).expect("JSON");
            for pending in state["pending"].as_array().expect("an array") {
                let scalar = pending["private_key"].as_str().expect("hex");
                sought.add("ephemeral key", &hex::decode(scalar).expect("hex"));
            }
        }
        let pem = fs::read_to_string(gateway.join("stsa.pem")).expect("a PEM");
        let passphrase = Zeroizing::new(STSA_PASSPHRASE.to_owned());
        let stsa = PrivateKey::from_encrypted_pem(&pem, &passphrase).expect("it opens");
        sought.add("STSA private key", stsa.to_scalar().expose());
        sought.add_text("STSA passphrase", STSA_PASSPHRASE);
        sought.add_text("export passphrase", EXPORT_PASSPHRASE);
    }

    /// All that there is to search now.
    fn places(&self) -> Places {
        let mut places = Places(self.said.0.clone());
        let directory = self.site.layout.directory();
        // The modules' own files, the master secret and what the test made.
        let own = [
            "master.secret",
            "SM1.json",
            "SM2.json",
            "SM1-registration.json",
            "SM2-registration.json",
            "stsa-passphrase",
            "export-passphrase",
            "wrong-passphrase",
            "imported",
            "mistyped",
            "bare-dak.json",
        ];
        places.add_files(&directory.join("gateway"), &own);
        places.add_files(&directory.join("mail"), &[]);
        places.add_files(&directory.join("log"), &[]);
        places.add_files(&directory.join("queue"), &[]);
        places.add_files(&directory.join("data"), &[]);
        if let Some(gateway) = &self.site.gateway {
            for file in ["environ", "cmdline", "status", "maps"] {
                let path = format!("/proc/{}/{file}", gateway.id());
                places.add(&path, fs::read(&path).expect("root may read it"));
            }
        }
        let database = self.file("gateway.sqlite3");
        let dump = run(Command::new("sqlite3").arg(&database).arg(".dump"), b"");
        places.add("the database's dump", dump);
        places
    }

    fn asks(&self, from: &str, draft: &Draft) -> Mail {
        let draft = draft.clone().with("From", from);
        let taken = self.site.smtp().send(from, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
        self.site
            .mailbox(from)
            .wait_for_reply(draft.header("Subject"))
    }

    fn asks_for_keys(&self, number: u32, request: &str) -> Mail {
        let subject = format!("{{KMS:GetKlfStsEd2}} {number}");
        self.asks(ALICE, &Draft::request(&subject, request))
    }
}

/// Makes the STSA's key and gives its public half.
fn stsa_key(layout: &Layout) -> String {
    let directory = layout.directory().join("gateway");
    let file = |name: &str| directory.join(name).display().to_string();
    fs::write(file("stsa-passphrase"), format!("{STSA_PASSPHRASE}\n")).expect("written");
    let shown = layout.gateway(&[
        "update",
        "new-key",
        "--passphrase-file",
        &file("stsa-passphrase"),
        "--out",
        &file("stsa.pem"),
    ]);
    let (_, rest) = shown.split_once('"').expect("a quoted key");
    rest.trim_end().trim_end_matches('"').to_owned()
}

fn trust(layout: &Layout, public_key: &str) {
    let key = [
        ("public_key", public_key),
        ("valid_from", "20260101T000000Z"),
        ("valid_until", "20990101T000000Z"),
    ];
    let key: toml::Table = key
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    layout.set_gateway("module_update", "stsa_keys", vec![toml::Value::from(key)]);
    let addresses = vec![toml::Value::from(CAROL)];
    layout.set_gateway("module_update", "stsa_addresses", addresses);
}

/// The storage key by AES-GCM alone, whose bytes the library shows to nobody.
fn unwrapped_storage_key(database: &Path, wrapping_key: &[u8; 32]) -> Vec<u8> {
    let query = "SELECT hex(wrapped) FROM storage_key";
    let wrapped = run(Command::new("sqlite3").arg(database).arg(query), b"");
    let wrapped = hex::decode(wrapped.trim_end()).expect("hex");
    let (nonce, ciphertext) = wrapped.split_first_chunk::<12>().expect("a nonce");
    let mut row = Vec::new();
    for (name, value) in [("table", "storage_key"), ("key", "")] {
        for (number, text) in [(None, name), (Some(1_u64), value)] {
            row.extend(number.map(u64::to_be_bytes).into_iter().flatten());
            row.extend((text.len() as u64).to_be_bytes());
            row.extend(text.as_bytes());
        }
    }
    let payload = Payload {
        msg: ciphertext,
        aad: &row,
    };
    Aes256Gcm::new(wrapping_key.into())
        .decrypt(&Nonce::from(*nonce), payload)
        .expect("the storage key")
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

// The tests.

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

/// What an operator does, right and wrong.
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

/// What can be seen of it only by somebody who isn't root: the process runs as
/// nobody here.
#[test]
fn no_core_is_dumped_and_no_other_process_of_the_user_looks_in() {
    const NOBODY: u32 = 65534;
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
    waiting.args(["record", "-"]).uid(NOBODY).gid(NOBODY);
    let mut child = waiting
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs as nobody");
    let file = |name: &str| format!("/proc/{}/{name}", child.id());
    let owner = |name: &str| fs::metadata(file(name)).expect("it runs").uid();
    until("it is not dumpable", Duration::from_secs(20), || {
        (owner("environ") == 0 && owner("mem") == 0).then_some(())
    });
    let limits = fs::read_to_string(file("limits")).expect("its limits");
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .expect("a limit");
    assert_eq!(
        core.split_whitespace().take(2).collect::<Vec<_>>(),
        ["0", "0"]
    );
    // Another process of the same user.
    let mut look = Command::new("cat");
    look.arg(file("environ")).uid(NOBODY).gid(NOBODY);
    let seen = look.output().expect("cat");
    assert!(!seen.status.success() && seen.stdout.is_empty(), "{seen:?}");
    drop(child.stdin.take());
    let _ = child.wait();
}

#[test]
fn secrets_lie_in_locked_memory_and_nothing_else_does() {
    let layout = Layout::new();
    let module = SoftwareModule::new(&layout, "94000001");
    let public_key = layout.gateway(&["kmc", "public-key"]);
    let site = layout.start();
    let gateway = site.gateway.as_ref().expect("it runs").id();
    let before = locked_kilobytes(gateway);
    assert!((4..=64).contains(&before), "{before} kB");
    for number in 0..5 {
        let reply = site.ask(&Draft::request(
            &format!("{{KMS:GetKlfStsEd2}} {number}"),
            &module.request(&public_key),
        ));
        assert_eq!(reply.result()[0], "Success");
    }
    assert_eq!(locked_kilobytes(gateway), before);
}

#[test]
fn where_nothing_may_be_locked_the_log_says_so() {
    let layout = Layout::new();
    // Root may lock whatever the limit is, but for this.
    let gateway = layout.start_gateway_by(&[
        "setpriv",
        "--bounding-set=-ipc_lock",
        "prlimit",
        "--memlock=0",
    ]);
    assert_eq!(locked_kilobytes(gateway.id()), 0);
    gateway.wait_for_log("secrets may be swapped out");
    assert!(gateway.stop().success());
}

/// How much of the process the operating system may not swap out.
fn locked_kilobytes(process: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:"))
        .and_then(|amount| amount.trim().strip_suffix(" kB"))
        .and_then(|amount| amount.parse().ok())
        .expect("an amount")
}
