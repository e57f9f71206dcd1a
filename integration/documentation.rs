//! What the README and the example configuration say is what the code has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use kms_gateway::{
    mail::RESULT_CODES,
    policy::{RULES, Stage},
    services::SERVICES,
};

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines between `<!-- name -->` and `<!-- end of name -->`.
fn section(text: &str, name: &str) -> String {
    let (_, after) = text.split_once(&format!("<!-- {name} -->\n")).expect(name);
    let (section, _) = after
        .split_once(&format!("<!-- end of {name} -->"))
        .expect(name);
    section.to_owned()
}

#[test]
fn the_readme_has_the_policy_table() {
    let mut table = "| rule | stage | matches | source |\n|---|---|---|---|\n".to_owned();
    for rule in RULES {
        let stage = match rule.stage() {
            Stage::Recipient => "RCPT",
            Stage::EndOfMessage => "end of message",
        };
        table.push_str(&format!(
            "| `{}` | {stage} | {} | {} |\n",
            rule.name, rule.summary, rule.source
        ));
    }
    let found = section(&read("README.md"), "policy table");
    assert_eq!(found, table, "put this into README.md:\n{table}");
}

#[test]
fn the_readme_names_every_service() {
    let readme = read("README.md");
    for service in &SERVICES {
        assert!(
            readme.contains(&format!("`{}`", service.code)),
            "{}",
            service.code
        );
    }
}

#[test]
fn the_readme_names_every_dependency_and_no_other() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let dependencies: BTreeSet<String> = ["dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|kind| manifest.get(*kind)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect();
    let named: BTreeSet<String> = section(&read("README.md"), "dependencies")
        .lines()
        .filter_map(|row| row.strip_prefix("| "))
        .flat_map(|row| {
            let crates = row.split(" | ").next().unwrap_or_default();
            crates
                .split(", ")
                .map(|name| name.trim_matches('`').to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(named, dependencies);
}

#[test]
fn every_result_code_is_written_as_the_contract_has_it() {
    let codes: Vec<&str> = RESULT_CODES.iter().map(|row| row.code).collect();
    let contract = [
        "EVkloadExpired",
        "EVkloadFuture",
        "EUnknownService",
        "EPlainTextRequired",
        "ERecordMissing",
        "ERecordMultiple",
        "ERecordQuoted",
        "ERecordFormat",
        "ERecordCrc",
        "EVkloadKmc",
        "EVkloadAuthentication",
        "EVkloadPublicKey",
        "EVkloadReplayed",
        "ENoVendingKeys",
        "EAttachmentMissing",
        "EAttachmentType",
        "EUpdateSignature",
        "EUpdateSerial",
        "EUpdateFormat",
        "EServiceFailed",
        "Deferred",
        "Blocked",
    ];
    assert_eq!(codes, contract);
}
