//! The checks of `fuzz/` over every file of their corpora, over every input
//! that once broke one, and over the mail that is in the repository
//! anyway. `scripts/fuzz` makes other inputs.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use targets::TARGETS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a directory, none where there is no directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs a check over every file, and names those that it fails on.
fn run(check: fn(&[u8]), inputs: &[PathBuf]) {
    let failed: Vec<_> = inputs
        .iter()
        .filter(|input| {
            let data = fs::read(input).unwrap();
            catch_unwind(AssertUnwindSafe(|| check(&data))).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The check of a target over its seeds, over its regressions, and over files
/// elsewhere that are seeds as well.
fn over_its_files(name: &str, elsewhere: &[PathBuf]) {
    let (_, check) = TARGETS.iter().find(|(own, _)| *own == name).unwrap();
    let seeds = files(&root().join("fuzz/corpus").join(name));
    assert!(
        !seeds.is_empty() || !elsewhere.is_empty(),
        "no seeds for {name}"
    );
    run(*check, &seeds);
    run(*check, &files(&root().join("fuzz/regressions").join(name)));
    run(*check, elsewhere);
}

/// The messages of real systems.
fn mail() -> Vec<PathBuf> {
    files(&root().join("integration/corpus"))
}

#[test]
fn addresses() {
    over_its_files("addresses", &[]);
}

#[test]
fn configuration() {
    over_its_files("configuration", &[]);
}

#[test]
fn gateway_result() {
    over_its_files("gateway_result", &[]);
}

#[test]
fn key_load_file() {
    over_its_files("key_load_file", &[]);
}

#[test]
fn policy() {
    over_its_files("policy", &mail());
}

#[test]
fn record() {
    over_its_files("record", &[]);
}

#[test]
fn record_file() {
    over_its_files("record_file", &[]);
}

#[test]
fn record_in_mail() {
    over_its_files("record_in_mail", &[]);
}

#[test]
fn request() {
    over_its_files("request", &mail());
}

#[test]
fn session() {
    over_its_files("session", &[]);
}

/// A target that is forgotten somewhere would not be run.
#[test]
fn every_target_is_in_every_place() {
    let names = |directory: &str| -> BTreeSet<String> {
        let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        files(&root().join(directory)).iter().map(stem).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz/fuzz_targets"), targets);
    assert!(names("fuzz/corpus").is_subset(&targets));
    assert!(names("fuzz/regressions").is_subset(&targets));
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for target in targets {
        assert!(
            manifest.contains(&format!("\nname = \"{target}\"\n")),
            "{target}"
        );
    }
}
