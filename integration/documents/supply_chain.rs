//! The crates that are compiled into the program: their sources, their licences
//! and their Rust version. deny.toml holds the rules. `scripts/supply-chain` runs
//! cargo-deny, which checks more by the same rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rules, by table and key.
fn rules() -> toml::Table {
    let path = root().join("deny.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("deny.toml: {error}"));
    text.parse().expect("TOML")
}

/// The texts of an array of the rules.
fn texts(rules: &toml::Table, table: &str, key: &str) -> Vec<String> {
    let array = rules[table][key].as_array().expect("an array");
    let texts = array.iter().map(|value| value.as_str().expect("a text"));
    texts.map(str::to_owned).collect()
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key}: {object}"))
}

/// Each crate that is compiled for one of the systems of the rules, tests and
/// build scripts included; Cargo.lock must be up to date.
fn crates(rules: &toml::Table) -> Vec<Value> {
    let mut crates = BTreeMap::new();
    for target in texts(rules, "graph", "targets") {
        let cargo = env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
        let output = Command::new(cargo)
            .args([
                "metadata",
                "--locked",
                "--format-version",
                "1",
                "--all-features",
            ])
            .args(["--filter-platform", &target])
            .current_dir(root())
            .output()
            .expect("cargo metadata");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
        let used: BTreeSet<&str> = nodes.iter().map(|node| text(node, "id")).collect();
        for package in metadata["packages"].as_array().expect("packages") {
            if used.contains(text(package, "id")) {
                crates.insert(text(package, "id").to_owned(), package.clone());
            }
        }
    }
    crates.into_values().collect()
}

fn named(package: &Value) -> String {
    format!("{} {}", text(package, "name"), text(package, "version"))
}

#[test]
fn every_licence_is_one_that_the_gpl_allows() {
    let rules = rules();
    let allowed = texts(&rules, "licenses", "allow");
    let is_allowed = |wanted: &LicenseReq| allowed.contains(&wanted.to_string());
    let mut used = BTreeSet::new();
    for package in crates(&rules) {
        // Some write `MIT/Apache-2.0`, as was the way once.
        let licence = Expression::parse_mode(text(&package, "license"), ParseMode::LAX)
            .unwrap_or_else(|error| panic!("{}: {error}", named(&package)));
        assert!(
            licence.evaluate(is_allowed),
            "{} is under {licence}, which deny.toml does not allow",
            named(&package)
        );
        used.extend(licence.requirements().map(|one| one.req.to_string()));
    }
    for licence in &allowed {
        assert!(
            used.contains(licence),
            "deny.toml: nothing is under {licence}"
        );
    }
}

#[test]
fn every_crate_comes_from_crates_io() {
    let rules = rules();
    let registries: Vec<String> = texts(&rules, "sources", "allow-registry")
        .iter()
        .map(|url| format!("registry+{url}"))
        .collect();
    for package in crates(&rules) {
        // Our own has no source.
        let source = package["source"].as_str();
        let is_good = match text(&package, "name") {
            "kms-gateway" => source.is_none(),
            _ => source.is_some_and(|source| registries.iter().any(|good| good == source)),
        };
        assert!(is_good, "{} comes from {source:?}", named(&package));
    }
}

#[test]
fn every_second_version_has_a_reason() {
    let rules = rules();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in crates(&rules) {
        let versions = versions
            .entry(text(&package, "name").to_owned())
            .or_default();
        versions.push(text(&package, "version").to_owned());
    }
    for skipped in rules["bans"]["skip"].as_array().expect("an array") {
        let named = skipped["crate"].as_str().expect("a text");
        let (name, version) = named.split_once('@').expect("a version");
        assert!(skipped["reason"].is_str(), "{named} has no reason");
        let of_it = versions
            .get_mut(name)
            .map(std::mem::take)
            .unwrap_or_default();
        let is_it = |found: &String| found.starts_with(&format!("{version}."));
        let (gone, left): (Vec<String>, Vec<String>) = of_it.into_iter().partition(is_it);
        assert!(
            !gone.is_empty() && !left.is_empty(),
            "deny.toml: {named} is not a second version any more"
        );
        versions.insert(name.to_owned(), left);
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert_eq!(versions, BTreeMap::new());
}

/// As text: `1.95` or `1.85.0`.
fn version(text: &str) -> Vec<u32> {
    let parts = text.split('.').map(|part| part.parse().expect("a number"));
    let mut version: Vec<u32> = parts.collect();
    version.resize(3, 0);
    version
}

#[test]
fn the_rust_that_is_named_compiles_every_crate() {
    let crates = crates(&rules());
    let ours = crates
        .iter()
        .find(|package| text(package, "name") == "kms-gateway");
    let ours = text(ours.expect("our own"), "rust_version");
    for package in &crates {
        if let Some(needed) = package["rust_version"].as_str() {
            assert!(
                version(needed) <= version(ours),
                "{} needs Rust {needed}, Cargo.toml says {ours}",
                named(package)
            );
        }
    }
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("it");
    assert!(
        contributing.contains(&format!("Rust {ours}")),
        "CONTRIBUTING.md names another Rust than {ours}"
    );
}
