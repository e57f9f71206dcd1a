//! Tests the module against the KMC's side of the same records, and against
//! vectors from elsewhere.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::kms::klf::NewFile;
use crate::kms::{Curve, PrivateKey, PublicPoint, VendingKey};
use crate::sts::{BaseDate, Dkga, KeyType, KmcId, Krn, Record, SmId, TypedRecord as _};

const VECTORS: &str = include_str!("../../integration/vectors/vectors.json");

/// A KMC with one key pair.
struct Kmc {
    private_key: PrivateKey,
    record: PkEcdh,
}

impl Kmc {
    fn new(curve: Curve) -> Self {
        let private_key = PrivateKey::generate(curve).unwrap();
        let kmcid = KmcId::new(
            "Example".parse().unwrap(),
            "K0001".parse().unwrap(),
            time("20260101T000000Z"),
            [1; 8],
        );
        let record = PkEcdh {
            kmcid,
            public_key: private_key.public_point().to_text(),
            expiry: time("20360101T000000Z"),
            reserved: Default::default(),
        };
        Self {
            private_key,
            record,
        }
    }

    /// A key load file for `request`, and the check values of its keys.
    fn answer(&self, request: &VkloadReq, dak: &Dak) -> (Vec<Record>, Vec<Kcv>) {
        let keys = [("000439", Dkga::D02), ("123456", Dkga::D04)];
        let vending_keys: Vec<_> = keys
            .map(|(sgc, dkga)| (attributes(sgc, dkga), VendingKey::generate(dkga).unwrap()))
            .into();
        let kcvs = vending_keys
            .iter()
            .map(|(attributes, key)| key.kcv(attributes))
            .collect();
        let curve = self.private_key.curve();
        let new_file = NewFile {
            request,
            module_point: &PublicPoint::read(curve, request.public_key.as_str()).unwrap(),
            dak,
            kmc_key: &self.private_key,
            vending_keys,
            response_time: time("20260301T120005Z"),
            nonce: [7; 16],
        };
        (new_file.build().unwrap(), kcvs)
    }
}

/// A module in a directory of its own.
struct Bench {
    directory: TempDir,
    module: SecurityModule,
}

impl Bench {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let module = SecurityModule::create(&directory.path().join("sm.json"), identity()).unwrap();
        Self { directory, module }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("sm.json")
    }

    /// Loads the module again, as after a restart.
    fn reload(self) -> Self {
        let path = self.path();
        let Self { directory, module } = self;
        drop(module);
        Self {
            directory,
            module: SecurityModule::load(&path).unwrap(),
        }
    }
}

fn identity() -> Identity {
    let created = time("20260102T030405Z");
    Identity {
        smid: SmId::new(
            "Example".parse().unwrap(),
            "90000001".parse().unwrap(),
            created,
            [2; 8],
        ),
        hardware: "Example-SM1".parse().unwrap(),
        firmware: "FW1.0".parse().unwrap(),
    }
}

fn attributes(sgc: &str, dkga: Dkga) -> VendingKeyAttributes {
    VendingKeyAttributes {
        sgc: sgc.parse().unwrap(),
        krn: Krn::new(1).unwrap(),
        kt: KeyType::new(2).unwrap(),
        ken: 255,
        bdt: BaseDate::Y1993,
        dkga,
        act: time("20260101T000000Z"),
        iut: None,
        ulm: u32::MAX,
        clm: u32::MAX,
    }
}

fn time(text: &str) -> StsTime {
    text.parse().unwrap()
}

fn now() -> StsTime {
    time("20260301T120000Z")
}

fn kcvs(keys: &[LoadedKey]) -> Vec<Kcv> {
    keys.iter().map(|key| key.kcv).collect()
}

#[test]
fn a_request_is_answered_and_the_answer_opened_after_a_restart() {
    for curve in [Curve::P384, Curve::P256] {
        let (mut bench, kmc) = (Bench::new(), Kmc::new(curve));
        let request = bench.module.request(kmc.record.clone(), now()).unwrap();
        assert!(bench.module.dak().authenticates(&request));
        bench = bench.reload();
        assert_eq!(bench.module.identity(), &identity());
        assert_eq!(
            bench.module.pending_requests().collect::<Vec<_>>(),
            [&request]
        );
        let (records, expected) = kmc.answer(&request, bench.module.dak());
        let keys = bench.module.open(file::write(&records).as_bytes()).unwrap();
        assert_eq!(kcvs(&keys), expected);
        assert_eq!(keys[1].attributes, attributes("123456", Dkga::D04));
        bench = bench.reload();
        assert_eq!(bench.module.pending_requests().count(), 0);
        let again = bench
            .module
            .open(file::write(&records).as_bytes())
            .unwrap_err();
        assert!(matches!(again, ModuleError::NoRequest { .. }), "{again}");
    }
}

#[test]
fn mail_may_change_line_ends() {
    let kmc = Kmc::new(Curve::P384);
    for change in [
        |file: &str| file.replace("\r\n", "\n"),
        |file: &str| file.trim_end().to_owned(),
        |file: &str| format!("\u{FEFF}{file}"),
    ] {
        let mut bench = Bench::new();
        let request = bench.module.request(kmc.record.clone(), now()).unwrap();
        let (records, expected) = kmc.answer(&request, bench.module.dak());
        let keys = bench
            .module
            .open(change(&file::write(&records)).as_bytes())
            .unwrap();
        assert_eq!(kcvs(&keys), expected);
    }
}

#[test]
fn requests_never_share_a_key_and_answers_come_in_any_order() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P256));
    let requests: Vec<_> = (0..3)
        .map(|_| bench.module.request(kmc.record.clone(), now()).unwrap())
        .collect();
    assert_ne!(requests[0].public_key, requests[1].public_key);
    for index in [1, 2, 0] {
        bench = bench.reload();
        let (records, expected) = kmc.answer(&requests[index], bench.module.dak());
        let keys = bench.module.open(file::write(&records).as_bytes()).unwrap();
        assert_eq!(kcvs(&keys), expected);
    }
    assert_eq!(bench.module.pending_requests().count(), 0);
}

#[test]
fn a_file_that_does_not_open_leaves_its_request_open() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P384));
    let request = bench.module.request(kmc.record.clone(), now()).unwrap();
    let (records, expected) = kmc.answer(&request, bench.module.dak());
    let good = file::write(&records);
    let swapped = [&records[0], &records[2], &records[1], &records[3]].map(Record::clone);
    let (other_dak, _) = kmc.answer(&request, Bench::new().module.dak());
    let (other_kmc, _) = Kmc::new(Curve::P384).answer(&request, bench.module.dak());
    let text = |records: &[Record]| file::write(records);
    for (file, reason) in [
        (String::new(), "not a key load file"),
        ("Dear user".to_owned(), "not a key load file"),
        (good.replace("000439", "000438"), "the checksum stated"),
        (text(&records[1..]), "X.VKLOAD.RSP.1"),
        (text(&records[..1]), "cut short"),
        (text(&records[..3]), "X.VKLOAD.MAC.1"),
        (text(&swapped), "MAC"),
        (text(&[&records[..2], &records[3..]].concat()), "MAC"),
        (text(&other_dak), "MAC"),
        (text(&other_kmc), "MAC"),
        (text(&[request.to_record()]), "X.VKLOAD.RSP.1"),
    ] {
        let error = bench.module.open(file.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let keys = bench.reload().module.open(good.as_bytes()).unwrap();
    assert_eq!(kcvs(&keys), expected);
}

#[test]
fn another_modules_file_is_named_as_such() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P384));
    let mut request = bench.module.request(kmc.record.clone(), now()).unwrap();
    request.smid = SmId::new(
        "Example".parse().unwrap(),
        "90000002".parse().unwrap(),
        now(),
        [3; 8],
    );
    let (records, _) = kmc.answer(&request, bench.module.dak());
    let error = bench
        .module
        .open(file::write(&records).as_bytes())
        .unwrap_err();
    assert!(matches!(&error, ModuleError::OtherModule { found } if *found == request.smid));
}

#[test]
fn no_request_is_made_under_a_key_of_no_use() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P384));
    let expired = PkEcdh {
        expiry: now(),
        ..kmc.record.clone()
    };
    let error = bench.module.request(expired, now()).unwrap_err();
    assert!(matches!(error, ModuleError::KeyExpired { .. }), "{error}");
    for point in ["04", &"04".repeat(97), &"00".repeat(65)] {
        let wrong = PkEcdh {
            public_key: point.parse().unwrap(),
            ..kmc.record.clone()
        };
        let error = bench.module.request(wrong, now()).unwrap_err();
        assert!(matches!(error, ModuleError::PublicKey(_)), "{error}");
    }
    assert_eq!(bench.reload().module.pending_requests().count(), 0);
}

#[test]
fn opens_the_vectors() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for vector in vectors.as_array().unwrap() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("sm.json");
        let smid = vector["request"].as_str().unwrap().split('|').nth(1);
        let state = json!({
            "smid": smid,
            "hardware": "Example-SM1",
            "firmware": "FW1.0",
            "dak": vector["dak"],
            "pending": [{
                "request": vector["request"],
                "kmc_key": vector["pk_record"],
                "private_key": vector["module_private"],
            }],
        });
        drop(StateFile::create(&path, state.to_string().as_bytes()).unwrap());
        let mut module = SecurityModule::load(&path).unwrap();
        let lines = vector["klf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap());
        let key_load_file: String = lines.map(|line| format!("{line}\r\n")).collect();
        let keys = module.open(key_load_file.as_bytes()).unwrap();
        let shown: Vec<_> = keys.iter().map(|key| key.kcv.to_string()).collect();
        let stated = vector["vending_keys"].as_array().unwrap().iter();
        assert_eq!(
            shown,
            stated
                .map(|key| key["kcv"].as_str().unwrap())
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn the_state_is_for_its_owner_alone() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P384));
    let mode = |bench: &Bench| fs::metadata(bench.path()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&bench), 0o600);
    bench.module.request(kmc.record, now()).unwrap();
    assert_eq!(mode(&bench), 0o600);
    let path = bench.path();
    let Bench {
        directory: _directory,
        module,
    } = bench;
    drop(module);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = SecurityModule::load(&path).unwrap_err();
    assert!(
        matches!(error, ModuleError::Mode { mode: 0o640, .. }),
        "{error}"
    );
}

#[test]
fn one_process_at_a_time_uses_a_module() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P256));
    let in_use = |bench: &Bench| {
        matches!(
            SecurityModule::load(&bench.path()),
            Err(ModuleError::InUse { .. })
        )
    };
    assert!(in_use(&bench));
    bench.module.request(kmc.record, now()).unwrap();
    assert!(in_use(&bench), "the lock must go with the new file");
    bench.reload();
}

#[test]
fn a_module_is_never_overwritten() {
    let bench = Bench::new();
    let before = fs::read(bench.path()).unwrap();
    let error = SecurityModule::create(&bench.path(), identity()).unwrap_err();
    assert!(matches!(error, ModuleError::Exists { .. }), "{error}");
    assert_eq!(fs::read(bench.path()).unwrap(), before);
}

#[test]
fn what_a_crash_left_is_no_hindrance() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P256));
    fs::write(bench.directory.path().join("sm.json.new"), "half").unwrap();
    bench.module.request(kmc.record, now()).unwrap();
    assert_eq!(fs::read_dir(bench.directory.path()).unwrap().count(), 1);
    assert_eq!(bench.reload().module.pending_requests().count(), 1);
}

#[test]
fn a_damaged_state_is_refused_without_showing_a_secret() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P384));
    bench.module.request(kmc.record, now()).unwrap();
    let dak = hex::encode_upper(bench.module.dak().expose());
    let path = bench.path();
    let Bench {
        directory: _directory,
        module,
    } = bench;
    drop(module);
    let good = fs::read_to_string(&path).unwrap();
    for damaged in [
        String::new(),
        good.split_at(good.len() / 2).0.to_owned(),
        good.replace(&dak, &dak[1..]),
        good.replace(&dak, &format!("x{}", &dak[1..])),
        good.replace("\"dak\"", "\"key\""),
        good.replace("\"pending\": [", &format!("\"pending\": [\"{dak}\", ")),
        good.replace("SMID.1:Example", "SMID.1:Exampel"),
        good.replace("VKLOAD.REQ.1|", "VKLOAD.REQ.2|"),
        good.replace("\"private_key\": \"", "\"private_key\": \"00"),
    ] {
        assert_ne!(damaged, good);
        fs::write(&path, &damaged).unwrap();
        let error = SecurityModule::load(&path).unwrap_err();
        assert!(matches!(error, ModuleError::State { .. }), "{error}");
        assert!(!error.to_string().contains(&dak[8..16]), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let (mut bench, kmc) = (Bench::new(), Kmc::new(Curve::P256));
    bench.module.request(kmc.record, now()).unwrap();
    let shown = format!("{:?}", bench.module).to_uppercase();
    let state: Value = serde_json::from_slice(&fs::read(bench.path()).unwrap()).unwrap();
    for secret in [&state["dak"], &state["pending"][0]["private_key"]] {
        assert!(!shown.contains(&secret.as_str().unwrap()[..8]), "{shown}");
    }
}
