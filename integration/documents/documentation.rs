//! The README, the guides and the example configuration agree with the code.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use kms_gateway::{
    commands::Arguments,
    config::Config,
    mail::{Concern, RESULT_CODES},
    measures::MEASURES,
    policy::{RULES, Stage},
    services::SERVICES,
    wiring::{
        self,
        parameters::{Standing, parameters},
        services::{Filling, Group, OLDEST, Role},
    },
};

/// Every document that people read.
const PROSE: [&str; 13] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "postfix/README.md",
    "docs/architecture.md",
    "docs/auditor.md",
    "docs/developing.md",
    "docs/integrating.md",
    "docs/kmc-operator.md",
    "docs/kms-protocol.md",
    "docs/mail-admin.md",
    "docs/performance.md",
];

/// The guides, one for each reader, and the guides that list commands.
const GUIDES: [&str; 5] = [
    "docs/mail-admin.md",
    "docs/kmc-operator.md",
    "docs/auditor.md",
    "docs/integrating.md",
    "docs/developing.md",
];
const WITH_COMMANDS: [&str; 4] = [
    "docs/mail-admin.md",
    "docs/kmc-operator.md",
    "docs/auditor.md",
    "docs/integrating.md",
];

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
    let found = section(&read("docs/mail-admin.md"), "policy table");
    assert_eq!(found, table, "put this into docs/mail-admin.md:\n{table}");
}

#[test]
fn the_readme_has_the_table_of_metrics() {
    let mut table = "| metric | kind | in | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for measure in MEASURES.iter().map(|row| row.measure()) {
        let labels: Vec<String> = measure
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = match labels.is_empty() {
            true => "-".to_owned(),
            false => labels.join(", "),
        };
        table.push_str(&format!(
            "| `{}` | {} | {} | {labels} | {} |\n",
            measure.name,
            measure.kind.as_str(),
            measure.unit.as_str(),
            measure.about
        ));
    }
    let found = section(&read("docs/mail-admin.md"), "metrics table");
    assert_eq!(found, table, "put this into docs/mail-admin.md:\n{table}");
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
    let named: BTreeSet<String> = section(&read("docs/developing.md"), "dependencies")
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
fn the_guide_has_every_result_code_with_cause_and_remedy() {
    let mut table =
        "| code | what happened | cause | remedy | parameters |\n|---|---|---|---|---|\n"
            .to_owned();
    for concern in Concern::ALL {
        for row in RESULT_CODES.iter().filter(|row| row.concern == concern) {
            table.push_str(&format!(
                "| `{}` | {} | {} | {} | {} |\n",
                row.code, row.meaning, row.cause, row.remedy, row.parameters
            ));
        }
    }
    let found = section(&read("docs/integrating.md"), "result codes");
    assert_eq!(found, table, "put this into docs/integrating.md:\n{table}");
}

/// The services with a group of overrides, the group itself once.
fn groups_of_overrides() -> Vec<(Vec<Role>, &'static Group)> {
    let mut found: Vec<(Vec<Role>, &Group)> = Vec::new();
    for service in wiring::services::SERVICES {
        let role = service.role;
        for group in service.groups() {
            match found
                .iter_mut()
                .find(|(_, known)| std::ptr::eq(*known, group))
            {
                Some((roles, _)) => roles.push(role),
                None => found.push((vec![role], group)),
            }
        }
    }
    found
}

#[test]
fn the_guide_for_postfix_has_every_override_and_its_reason() {
    let filling = Filling::default();
    let mut table =
        "| at | override | what main.cf would do otherwise |\n|---|---|---|\n".to_owned();
    for (roles, group) in groups_of_overrides() {
        let roles: Vec<&str> = roles.into_iter().map(Role::as_str).collect();
        let overrides: Vec<String> = group
            .overrides
            .iter()
            .map(|(parameter, value)| format!("`{parameter}={}`", value.filled(&filling)))
            .collect();
        let since = match group.since {
            OLDEST => String::new(),
            (major, minor) => format!(" (Postfix {major}.{minor} and later)"),
        };
        table.push_str(&format!(
            "| {} | {}{since} | {} |\n",
            roles.join(", "),
            overrides.join(", "),
            group.why
        ));
    }
    let found = section(&read("postfix/README.md"), "overrides");
    assert_eq!(found, table, "put this into postfix/README.md:\n{table}");
}

#[test]
fn the_guide_for_postfix_names_what_no_service_can_override() {
    let mut table = "| parameter | what to look at |\n|---|---|\n".to_owned();
    for row in parameters().expect("the table of parameters") {
        if let Standing::Warned(why) = row.standing {
            table.push_str(&format!("| `{}` | {why} |\n", row.name));
        }
    }
    let found = section(&read("postfix/README.md"), "not overridden");
    assert_eq!(found, table, "put this into postfix/README.md:\n{table}");
}

#[test]
fn the_guide_shows_the_examples_that_are_run() {
    let guide = read("docs/integrating.md");
    for (name, language) in [
        ("request.py", "python"),
        ("request.sh", "sh"),
        ("request.ps1", "powershell"),
    ] {
        let example = read(&format!("docs/examples/{name}"));
        let shown = section(&guide, name);
        let expected = format!("```{language}\n{example}```\n");
        assert_eq!(shown, expected, "docs/integrating.md shows another {name}");
    }
}

/// Every command, and every subcommand by both words: `kmc rotate`.
fn commands() -> BTreeSet<String> {
    let command = Arguments::command();
    let mut found = BTreeSet::new();
    for own in command.get_subcommands() {
        found.insert(own.get_name().to_owned());
        let parts = own.get_subcommands();
        found.extend(parts.map(|part| format!("{} {}", own.get_name(), part.get_name())));
    }
    found
}

#[test]
fn operating_has_every_command_and_no_other() {
    let mut listed = BTreeSet::new();
    for guide in WITH_COMMANDS {
        for row in section(&read(guide), "commands").lines().skip(2) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let [_, command, parts, ..] = cells[..] else {
                panic!("{guide}: no row: {row}")
            };
            let command = command.trim_matches('`');
            assert!(
                listed.insert(command.to_owned()),
                "{guide} lists {command}, which another guide lists"
            );
            let parts = parts.split('`').skip(1).step_by(2);
            listed.extend(parts.map(|part| format!("{command} {part}")));
        }
    }
    let there = commands();
    let missing: Vec<_> = there.difference(&listed).collect();
    assert!(missing.is_empty(), "the guides lack {missing:?}");
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(
        gone.is_empty(),
        "the guides list {gone:?}, which are no commands"
    );
}

#[test]
fn the_readme_is_short_and_each_guide_begins_with_what_its_reader_wants() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "README.md has {lines} lines");
    for guide in GUIDES {
        let text = read(guide);
        let table = text.lines().find(|line| line.starts_with('|'));
        assert_eq!(table, Some("| you want to … | do this |"), "{guide}");
    }
}

/// The keys of a table of the configuration, or the tables, as the error about
/// one that isn't there lists them.
fn known_keys(text: &str) -> BTreeSet<String> {
    let error = Config::parse(Path::new("gateway.toml"), text)
        .expect_err("no such key")
        .to_string();
    let (_, expected) = error.split_once("expected ").expect("a list of keys");
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_example_configuration_has_every_key() {
    let example = read("postfix/gateway.toml");
    let tables = known_keys("no_such_table = 1");
    assert!(tables.contains("gateway"), "{tables:?}");
    let mut missing = Vec::new();
    for table in tables {
        let Some((_, rest)) = example.split_once(&format!("\n[{table}]\n")) else {
            missing.push(format!("[{table}]"));
            continue;
        };
        let lines = rest.split("\n[").next().unwrap_or_default();
        let addresses = "[gateway]\naddresses = [\"a@example.org\"]\n";
        let text = match table.as_str() {
            "gateway" => format!("{addresses}no_such_key = 1"),
            _ => format!("{addresses}[{table}]\nno_such_key = 1"),
        };
        for key in known_keys(&text) {
            let is_there = lines.lines().any(|line| {
                line.trim_start_matches("# ")
                    .starts_with(&format!("{key} = "))
            });
            // Not in any released program.
            if !is_there && key != "synchronous_off" {
                missing.push(format!("{table}.{key}"));
            }
        }
    }
    assert!(missing.is_empty(), "postfix/gateway.toml lacks {missing:?}");
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for name in PROSE {
        let text = read(name);
        let folder = Path::new(name).parent().expect("a folder");
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let page = match file {
                "" => PathBuf::from(name),
                file => folder.join(file),
            };
            let found = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&page));
            let is_there =
                found.is_ok_and(|page| heading.is_empty() || anchors(&page).contains(heading));
            if !is_there {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// The anchors of a page's headings: lower case, `-` for blanks, no other marks.
fn anchors(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
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
