//! A site with everything that has secrets: its commands, its mail, its files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use kms_gateway::{
    kms::{KmsTables, PrivateKey},
    secrets::{MasterSecret, StorageKey, primitives::hkdf_sha384},
    store::{Store, StoreSettings},
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{places::Places, sought::Sought};
use crate::harness::{
    ALICE, CAROL, Draft, GATEWAY, Layout, Mail, Site, SoftwareModule, kms_gateway, run, words,
};

/// A site with everything that has secrets.
pub struct Vault {
    pub site: Site,
    pub said: Places,
    pub sought: Sought,
}

const STSA_PASSPHRASE: &str = "correct horse of the STSA";
pub const EXPORT_PASSPHRASE: &str = "battery staple of the KMC";
/// Odd parity and not weak, as import wants it.
pub const IMPORTED: &str = "37BAECCB34029161";
/// The last digit is mistyped.
pub const MISTYPED: &str = "5B9DA1D3C7EF6E2B";

impl Vault {
    pub fn new() -> Self {
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

    pub fn file(&self, name: &str) -> PathBuf {
        self.site.layout.directory().join("gateway").join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.file(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// Runs a command to whatever end and keeps what it said.
    pub fn says(&mut self, line: &str, input: &[u8]) -> Option<i32> {
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

    pub fn succeeds(&mut self, line: &str) {
        assert_eq!(self.says(line, b""), Some(0), "{line}");
    }

    pub fn fails(&mut self, line: &str) {
        assert_eq!(self.says(line, b""), Some(1), "{line}");
    }

    /// The database is opened as the gateway opens it, and what is sealed is
    /// opened too.
    pub fn seek_all(&mut self, modules: &[&SoftwareModule]) {
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

    /// Everything that can be searched now.
    pub fn places(&self) -> Places {
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

    pub fn asks(&self, from: &str, draft: &Draft) -> Mail {
        let draft = draft.clone().with("From", from);
        let taken = self.site.smtp().send(from, &[GATEWAY], &draft.to_bytes());
        assert_eq!(taken.code, 250, "{taken:?}");
        self.site
            .mailbox(from)
            .wait_for_reply(draft.header("Subject"))
    }

    pub fn asks_for_keys(&self, number: u32, request: &str) -> Mail {
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
