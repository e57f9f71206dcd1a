//! Another master secret and another storage key: whatever happens meanwhile,
//! either the old secret or the new one opens everything, and once it is done
//! nothing of the old is left in the file.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use harness::{ALICE, Draft, Layout, Module, Output, Site, SoftwareModule, kms_gateway, run};
use kms_gateway::{
    audit::ChainKey,
    faults::{FaultPoint, VARIABLE},
    kms::{
        KmsTables, MasterSecret, StorageKey, VendingKey,
        administration::{Administration, NewVendingKey},
    },
    store::{Store, StoreSettings},
    sts::{Dkga, VendingKeyAttributes},
};

/// The files of a site's gateway that this is about.
struct Files {
    layout: Layout,
}

impl Files {
    fn new() -> Self {
        Self {
            layout: Layout::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.layout.directory().join("gateway").join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("gateway.sqlite3")
    }

    fn text(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("a path in UTF-8")
            .to_owned()
    }

    /// `secret rewrap` with the file `new.secret`, made if it isn't there.
    fn rewrap(&self, options: &[&str]) -> Command {
        let new = self.text("new.secret");
        let common = ["secret", "rewrap", "--new-file", &new, "--create"];
        kms_gateway(&self.layout.config(), &[&common, options].concat())
    }

    /// Has the gateway use the new secret, as the command says.
    fn put_in_place(&self) {
        fs::rename(self.path("new.secret"), self.path("master.secret")).expect("a new secret");
    }

    fn sqlite3(&self, statements: &str) -> String {
        run(
            Command::new("sqlite3").arg(self.database()).arg(statements),
            b"",
        )
    }

    /// The wrapped storage key and every sealed secret, in hex.
    fn sealed(&self) -> Vec<String> {
        let shown = self.sqlite3(
            "SELECT hex(wrapped) FROM storage_key;
             SELECT hex(sealed_private_key) FROM kmc_keys;
             SELECT hex(sealed_dak) FROM modules; SELECT hex(sealed_key) FROM vending_keys",
        );
        shown.lines().map(str::to_owned).collect()
    }

    /// How many of these are in the database file or its write-ahead log.
    fn left_of(&self, sealed: &[String]) -> usize {
        let content: Vec<u8> = ["", "-wal"]
            .iter()
            .filter_map(|suffix| fs::read(format!("{}{suffix}", self.database().display())).ok())
            .flatten()
            .collect();
        let is_in = |text: &&String| {
            let bytes = hex::decode(text).expect("hex");
            content
                .windows(bytes.len())
                .any(|window| window == bytes.as_slice())
        };
        sealed.iter().filter(is_in).count()
    }

    /// Every secret in the tables, opened by the master secret in this file;
    /// none if it is another's.
    fn opened(&self, secret: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        with_store(self, secret, async |store, storage_key| {
            let mut secrets = BTreeMap::new();
            for row in store.kmc_keys().await.expect("rows") {
                let key = row.open(storage_key).expect("it opens").to_scalar();
                secrets.insert(row.kmcid.to_string(), key.expose().to_vec());
            }
            for row in store.modules().await.expect("rows") {
                let dak = row.open(storage_key).expect("it opens");
                secrets.insert(row.smid.to_string(), dak.expose().to_vec());
            }
            for row in store.vending_keys().await.expect("rows") {
                let key = row.open(storage_key).expect("it opens");
                let name = format!("{} {}", row.attributes.sgc, row.attributes.krn);
                secrets.insert(name, key.expose().to_vec());
            }
            secrets
        })
    }
}

/// Does something with the store and the storage key, if this secret opens
/// them: both the rows' key and the audit log's.
fn with_store<T>(
    files: &Files,
    secret: &str,
    act: impl AsyncFnOnce(&Arc<Store>, &StorageKey) -> T,
) -> Option<T> {
    let master = MasterSecret::from_file(&files.path(secret)).expect("a master secret");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let chain_key = ChainKey::new(master.derive("audit-chain").expose());
        let settings = StoreSettings::new(files.database());
        let store = Store::open(&settings, Some(chain_key)).await.ok()?;
        let opened = StorageKey::open_or_create(store.as_ref(), &master).await;
        let done = match &opened {
            Ok(storage_key) => Some(act(&store, storage_key).await),
            Err(_) => None,
        };
        store.close().await;
        done
    })
}

fn ended(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn done(command: &mut Command) -> Output {
    let output = ended(command);
    assert_eq!(output.code, Some(0), "{output:?}");
    output
}

fn refused(command: &mut Command, reason: &str) {
    let output = ended(command);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(reason), "{output:?}");
}

/// The newest head of a log that holds.
fn head(layout: &Layout) -> String {
    let text = layout.gateway(&["audit", "verify"]);
    let head = text.lines().find_map(|line| line.strip_prefix("head "));
    head.expect("a head").to_owned()
}

/// A module's request by mail, and its keys in the answer.
fn keys_issued(site: &Site, module: &SoftwareModule, subject: &str) -> usize {
    let public_key = site.layout.gateway(&["kmc", "public-key"]);
    let subject = format!("{{KMS:GetKlfStsEd2}} {subject}");
    let reply = site.ask(&Draft::request(&subject, &module.request(&public_key)));
    module.open(&reply.attachment().2).len()
}

/// What must hold after a change, whichever: the log verifies as a whole, from
/// a head kept before too, and key load files are issued.
fn changed_and_at_work(files: Files, module: &SoftwareModule, kept: &str) {
    let layout = &files.layout;
    let verified = layout.gateway(&["audit", "verify", "--head", kept]);
    assert!(
        verified.contains("The master secret was changed at entry "),
        "{verified}"
    );
    let log = layout.gateway(&["audit", "list"]);
    assert!(log.contains("master-secret-changed"), "{log}");
    let site = files.layout.start();
    assert_eq!(keys_issued(&site, module, "afterwards"), 2);
    site.mailbox(ALICE).wait_for_count(1);
    site.layout.gateway(&["audit", "verify", "--head", kept]);
}

#[test]
fn the_master_secret_is_changed_and_the_old_one_opens_nothing() {
    let files = Files::new();
    let module = SoftwareModule::new(&files.layout, "SM1");
    let (kept, before) = (head(&files.layout), files.sealed());
    let secrets = files.opened("master.secret").expect("they open");

    let gateway = files.layout.start_gateway();
    refused(&mut files.rewrap(&[]), "stop serve");
    assert!(!files.path("new.secret").exists(), "made for nothing");
    assert!(gateway.stop().success());

    let output = done(&mut files.rewrap(&[]));
    let next_step = format!(
        "mv {} {}",
        files.text("new.secret"),
        files.text("master.secret")
    );
    assert!(output.stdout.contains(&next_step), "{output:?}");
    assert!(output.stderr.contains("stay readable"), "{output:?}");
    assert!(output.stderr.contains("--rekey"), "{output:?}");
    assert_eq!(files.left_of(&before[..1]), 0, "the old wrapping");

    for command in [&["kmc", "public-key"][..], &["audit", "verify"], &["serve"]] {
        let output = files.layout.try_gateway(command);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains("secret rewrap"), "{output:?}");
    }
    assert!(files.opened("master.secret").is_none());
    assert_eq!(files.opened("new.secret").as_ref(), Some(&secrets));
    files.put_in_place();
    changed_and_at_work(files, &module, &kept);
}

#[test]
fn with_rekey_every_row_is_sealed_anew_and_the_old_bytes_are_gone() {
    let files = Files::new();
    let module = SoftwareModule::new(&files.layout, "SM1");
    let (kept, before) = (head(&files.layout), files.sealed());
    assert_eq!(before.len(), 5, "a storage key and four secrets");
    assert_eq!(files.left_of(&before), 5, "the search finds them");
    let secrets = files.opened("master.secret").expect("they open");

    let output = done(&mut files.rewrap(&["--rekey"]));
    assert!(
        output.stderr.contains("backups") && output.stderr.contains("stay readable"),
        "{output:?}"
    );
    assert_eq!(files.left_of(&before), 0);
    assert!(files.opened("master.secret").is_none());
    assert_eq!(files.opened("new.secret").as_ref(), Some(&secrets));
    files.put_in_place();

    // Another storage key alone.
    let between = files.sealed();
    let rekey = ["secret", "rewrap", "--rekey"];
    let output = done(&mut kms_gateway(&files.layout.config(), &rekey));
    assert!(output.stderr.contains("Warning"), "{output:?}");
    assert_eq!(files.left_of(&between), 0);
    assert_eq!(files.opened("master.secret").as_ref(), Some(&secrets));
    let log = files.layout.gateway(&["audit", "list", "--json"]);
    let told = "1 KMC keys, 1 modules and 2 vending keys sealed anew";
    assert_eq!(log.matches(told).count(), 2, "{log}");
    assert_eq!(log.matches("master-secret-changed").count(), 1, "{log}");
    changed_and_at_work(files, &module, &kept);
}

#[test]
fn a_secret_is_changed_again_and_again_and_the_whole_log_verifies() {
    let files = Files::new();
    let kept = head(&files.layout);
    for change in 1..=3 {
        done(&mut files.rewrap(&[]));
        files.put_in_place();
        let verified = files.layout.gateway(&["audit", "verify", "--head", &kept]);
        let told = verified
            .lines()
            .find_map(|line| line.strip_prefix("The master secret was changed at entry "));
        let (entries, _) = told
            .and_then(|told| told.split_once('.'))
            .expect("it is told");
        assert_eq!(entries.split(" and ").count(), change, "{verified}");
    }
    // What somebody with sqlite3 did before a change still shows after it.
    files.sqlite3("UPDATE audit SET entry = replace(entry, 'kms', 'KMS') WHERE sequence = 2");
    let output = files.layout.try_gateway(&["audit", "verify"]);
    assert!(output.stdout.contains("at entry 2:"), "{output:?}");
    done(&mut files.rewrap(&[]));
    files.put_in_place();
    let output = files.layout.try_gateway(&["audit", "verify"]);
    assert!(output.stdout.contains("at entry 2:"), "{output:?}");
}

#[test]
fn killed_at_every_point_either_secret_opens_everything() {
    let files = Files::new();
    SoftwareModule::new(&files.layout, "SM1");
    let secrets = files.opened("master.secret").expect("they open");
    let kept = head(&files.layout);
    let mut kills = 0;
    for point in FaultPoint::OF_A_SECRET_CHANGE {
        // Three rows are sealed anew before the last of four.
        let passings = if point == FaultPoint::AmidResealing {
            1..=4
        } else {
            1..=1
        };
        for passing in passings {
            let before = files.sealed();
            let mut doomed = files.rewrap(&["--rekey"]);
            let status = doomed
                .env(VARIABLE, format!("{point:?}:{passing}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert_eq!(status.expect("it runs").signal(), Some(9), "{point:?}");
            kills += 1;
            let is_committed = !matches!(
                point,
                FaultPoint::AmidResealing | FaultPoint::BeforeSecretCommit
            );
            let (opens, does_not) = if is_committed {
                ("new.secret", "master.secret")
            } else {
                ("master.secret", "new.secret")
            };
            assert!(files.opened(does_not).is_none(), "{point:?}");
            assert_eq!(files.opened(opens).as_ref(), Some(&secrets), "{point:?}");

            // The same command again ends what was begun.
            let output = done(&mut files.rewrap(&[]));
            assert_eq!(output.stdout.contains("already"), is_committed);
            assert_eq!(files.left_of(&before[..1]), 0, "{point:?}");
            if is_committed {
                assert_eq!(files.left_of(&before), 0, "{point:?}");
            }
            files.put_in_place();
            assert_eq!(files.opened("master.secret").as_ref(), Some(&secrets));
            files.layout.gateway(&["audit", "verify", "--head", &kept]);
            assert_eq!(files.sqlite3("PRAGMA integrity_check"), "ok\n");
        }
    }
    eprintln!(
        "{kills} kills at {} points",
        FaultPoint::OF_A_SECRET_CHANGE.len()
    );
}

/// Many vending keys, so that a change takes its time.
fn fill(files: &Files, number: u32) {
    let filled = with_store(files, "master.secret", async |store, storage_key| {
        let administration = Administration::new(store.as_ref(), storage_key);
        for sgc in 0..number {
            let attributes = VendingKeyAttributes {
                sgc: format!("{:06}", 600_000 + sgc).parse().expect("an SGC"),
                krn: "1".parse().expect("a KRN"),
                kt: "2".parse().expect("a KT"),
                ken: 255,
                bdt: "2014".parse().expect("a BDT"),
                dkga: Dkga::D04,
                act: "20260101T000000Z".parse().expect("a time"),
                iut: None,
                ulm: 0,
                clm: 0,
            };
            let key = VendingKey::generate(Dkga::D04).expect("a key");
            let new = NewVendingKey {
                attributes,
                expires: None,
                key: &key,
            };
            let now = jiff::Timestamp::now();
            administration
                .add_vending_key(new, now)
                .await
                .expect("added");
        }
    });
    filled.expect("the store opens");
}

#[test]
fn killed_at_random_either_secret_opens_everything() {
    const KILLS: u32 = 12;
    let files = Files::new();
    fill(&files, 300);
    let secrets = files.opened("master.secret").expect("they open");
    let begin = Instant::now();
    done(&mut files.rewrap(&["--rekey"]));
    files.put_in_place();
    let whole = begin.elapsed();
    let mut committed = 0;
    for kill in 0..KILLS {
        let mut doomed = files
            .rewrap(&["--rekey"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        // Over the whole of its life, the end a little more often.
        thread::sleep(whole * (kill + 1) / (KILLS + 1));
        let _ = doomed.kill();
        let _ = doomed.wait();
        let new = files.path("new.secret");
        if fs::metadata(&new).is_ok_and(|file| file.len() < 65) {
            fs::remove_file(&new).expect("half a secret");
        }
        let is_new = new.exists() && files.opened("new.secret").is_some();
        let is_old = files.opened("master.secret").is_some();
        assert_ne!(is_new, is_old, "exactly one opens");
        if is_new {
            committed += 1;
            files.put_in_place();
        }
        assert_eq!(files.opened("master.secret").as_ref(), Some(&secrets));
        files.layout.gateway(&["audit", "verify"]);
    }
    eprintln!("{KILLS} kills within {whole:?}, {committed} after the commit");
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let files = Files::new();
    let before = files.sealed();
    let new = files.path("new.secret");
    let without_create = files.text("new.secret");
    let arguments = ["secret", "rewrap", "--new-file", &without_create];
    let config = files.layout.config();
    refused(&mut kms_gateway(&config, &arguments), "cannot read");
    fs::write(&new, "not hex\n").expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("its mode");
    refused(&mut files.rewrap(&[]), "64 hexadecimal digits");
    fs::write(&new, format!("{}\n", "5a".repeat(32))).expect("written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).expect("its mode");
    refused(&mut files.rewrap(&[]), "chmod 600");
    let output = files.layout.try_gateway(&["secret", "rewrap"]);
    assert_eq!(output.code, Some(2), "{output:?}");

    // A row that doesn't open would be lost.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("its mode");
    files.sqlite3("UPDATE vending_keys SET ken = 254 WHERE krn = 2");
    refused(
        &mut files.rewrap(&["--rekey"]),
        "vending_key 000439 2 does not open",
    );
    files.sqlite3("UPDATE vending_keys SET ken = 255 WHERE krn = 2");

    // The configured secret is another's, and so is the new one.
    let right = fs::read(files.path("master.secret")).expect("it");
    fs::write(files.path("master.secret"), "6b".repeat(32)).expect("written");
    refused(
        &mut files.rewrap(&[]),
        "does not open with this master secret",
    );
    fs::write(files.path("master.secret"), right).expect("written");
    assert_eq!(files.sealed(), before);

    // Somebody reads the database: nothing is pretended.
    let mut reader = Command::new("sqlite3")
        .arg(files.database())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("sqlite3");
    {
        use std::io::Write as _;
        let stdin = reader.stdin.as_mut().expect("piped");
        stdin
            .write_all(b"BEGIN; SELECT count(*) FROM audit;\n")
            .expect("it reads");
    }
    thread::sleep(Duration::from_millis(500));
    let same = files.text("master.secret");
    let arguments = ["secret", "rewrap", "--rekey", "--new-file", &same];
    refused(
        &mut kms_gateway(&config, &arguments),
        "the change is made, but old content may still be in the file",
    );
    drop(reader.stdin.take());
    let _ = reader.wait();
    let arguments = ["secret", "rewrap", "--new-file", &same];
    let output = done(&mut kms_gateway(&config, &arguments));
    assert!(output.stdout.contains("already"), "{output:?}");
    assert_eq!(files.left_of(&before), 0);
}

#[test]
fn the_master_secret_is_taken_from_wherever_the_configuration_says() {
    let files = Files::new();
    let config = files.layout.config();
    let secret = fs::read_to_string(files.path("master.secret")).expect("it");
    let text = fs::read_to_string(&config).expect("the configuration");
    let only = |key: &str, value: &str| {
        let mut table: toml::Table = text.parse().expect("TOML");
        let secrets = [(key.to_owned(), toml::Value::from(value))];
        table.insert("secrets".to_owned(), toml::Table::from_iter(secrets).into());
        fs::write(&config, table.to_string()).expect("the configuration");
    };
    let public_key = files.layout.gateway(&["kmc", "public-key"]);
    let shown = || kms_gateway(&config, &["kmc", "public-key"]);

    only("master_secret_credential", "master.secret");
    let directory = files.path("credentials");
    fs::create_dir(&directory).expect("a directory");
    let credential = directory.join("master.secret");
    fs::write(&credential, &secret).expect("a credential");
    fs::set_permissions(&credential, fs::Permissions::from_mode(0o400)).expect("its mode");
    let variable = "CREDENTIALS_DIRECTORY";
    assert_eq!(done(shown().env(variable, &directory)).stdout, public_key);
    refused(&mut shown(), "LoadCredential=master.secret:FILE");
    let output = done(files.rewrap(&[]).env(variable, &directory));
    assert!(
        output.stdout.contains("LoadCredential=master.secret:"),
        "{output:?}"
    );
    let new = fs::read_to_string(files.path("new.secret")).expect("it");

    only("master_secret_environment", "KMS_TEST_SECRET");
    assert!(env::var_os("KMS_TEST_SECRET").is_none());
    assert_eq!(
        done(shown().env("KMS_TEST_SECRET", new.trim_end())).stdout,
        public_key
    );
    refused(&mut shown(), "KMS_TEST_SECRET");
    let output = done(files.rewrap(&[]).env("KMS_TEST_SECRET", new.trim_end()));
    assert!(output.stdout.contains("already"), "{output:?}");

    only("master_secret_file", &files.text("new.secret"));
    assert_eq!(done(&mut shown()).stdout, public_key);
    let mode =
        |mode| fs::set_permissions(files.path("new.secret"), fs::Permissions::from_mode(mode));
    mode(0o640).expect("its mode");
    refused(&mut shown(), "chmod 600");
    assert!(Path::new(&files.text("new.secret")).is_file());
}
