//! The man pages render without a warning and leave nothing out, and the
//! completions complete, each in its own shell.

#[path = "../../examples/documents/manual/mod.rs"]
mod man_pages;

use std::{path::Path, process::Command};

use clap::CommandFactory;
use kms_gateway::{
    commands::{Alone, Arguments},
    mail::RESULT_CODES,
    policy::RULES,
    services::SERVICES,
};
use tempfile::TempDir;

use crate::harness::{output, run};

fn documents() -> TempDir {
    let directory = TempDir::with_prefix("kms-gateway-").expect("a temporary directory");
    man_pages::write_to(directory.path()).expect("the documents");
    directory
}

/// The page as it is read, in one line: each word once, after one blank.
fn read(page: &str) -> String {
    let directory = documents();
    let ended = output(
        Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "--no-hyphenation", "-l"])
            .arg(directory.path().join(page))
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8"),
        b"",
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{page}");
    one_line(&ended.stdout)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_of_the_command_has_every_command_and_option_with_its_help() {
    let page = read("kms-gateway.1");
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut count = 0;
    let mut commands = vec![&command];
    while let Some(command) = commands.pop() {
        count += 1;
        let about = command.get_about().expect("a summary").to_string();
        assert!(page.contains(about.trim_end_matches('.')), "{about}");
        assert!(page.contains(command.get_bin_name().unwrap_or("kms-gateway")));
        for argument in command.get_arguments() {
            let name = argument.get_long().map(|name| format!("--{name}"));
            let value = || argument.get_value_names().expect("a name")[0].to_string();
            let name = name.unwrap_or_else(value);
            assert!(page.contains(&name), "{name}");
            let help = argument.get_help().expect("a help text").to_string();
            assert!(page.contains(&one_line(&help)), "{help}");
        }
        commands.extend(command.get_subcommands());
    }
    assert!(count > 30, "{count} commands");
}

fn is_of_a_key(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

#[test]
fn the_page_of_the_configuration_has_every_key_and_every_word_of_its_comments() {
    let page = read("gateway.toml.5");
    let example = include_str!("../../postfix/gateway.toml");
    let tables: toml::Table = example.parse().expect("TOML");
    for (table, keys) in &tables {
        assert!(page.contains(&format!("[{table}] ")), "{table}");
        for key in keys.as_table().expect("a table").keys() {
            assert!(page.contains(&format!(" {key} = ")), "{table}.{key}");
        }
    }
    for line in example.lines() {
        let Some(comment) = line.strip_prefix('#') else {
            continue;
        };
        match comment.split_once(" = ") {
            // A key without a default.
            Some((key, value)) if key.trim().chars().all(is_of_a_key) => {
                let entry = format!(" {} (not set; for example {value})", key.trim());
                assert!(page.contains(&entry), "{entry}");
            }
            _ => assert!(
                page.contains(&one_line(&comment.replace('`', ""))),
                "{comment}"
            ),
        }
    }
}

#[test]
fn the_page_of_the_policy_has_every_rule_service_and_code() {
    let page = read("kms-gateway-policy.7");
    for rule in RULES {
        assert!(
            page.contains(&format!(" {} (at ", rule.name)),
            "{}",
            rule.name
        );
        // Its first letter is a capital here.
        assert!(page.contains(&rule.summary[1..]), "{}", rule.summary);
        assert!(page.contains(rule.source), "{}", rule.source);
    }
    for service in &SERVICES {
        assert!(page.contains(&service.code.to_string()), "{}", service.code);
        assert!(page.contains(service.request), "{}", service.request);
    }
    for row in RESULT_CODES {
        assert!(page.contains(row.code), "{}", row.code);
        assert!(page.contains(&row.description()), "{}", row.code);
    }
}

#[test]
fn the_page_of_the_installer_has_its_help() {
    let page = read("kms-gateway-postfix.8");
    for argument in Alone::command().get_arguments() {
        let help = argument.get_help().expect("a help text").to_string();
        assert!(page.contains(&one_line(&help)), "{help}");
    }
}

/// Bash's completion of the last word of a line.
fn completed_by_bash(file: &Path, line: &str) -> String {
    let script = "source \"$1\"; read -ra COMP_WORDS <<<\"$2\"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                  function=$(complete -p kms-gateway | grep -o '_kms[^ ]*'); \
                  $function kms-gateway \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"; \
                  echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).arg(file).arg(line);
    run(&mut bash, b"").trim().to_owned()
}

fn completed_by_fish(file: &Path, line: &str) -> String {
    let script = "source $argv[1]; complete --do-complete $argv[2]";
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", script]).arg(file).arg(line);
    let lines = run(&mut fish, b"");
    let words = lines.lines().filter_map(|line| line.split('\t').next());
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_completions_complete_commands_and_options() {
    let directory = documents();
    let file = |name: &str| directory.path().join(name);
    for (line, word) in [
        ("kms-gateway vend", "vending-key"),
        ("kms-gateway audit ver", "verify"),
        ("kms-gateway audit verify --he", "--head --help"),
        ("kms-gateway vending-key generate --sg", "--sgc"),
    ] {
        assert_eq!(completed_by_bash(&file("kms-gateway.bash"), line), word);
        assert_eq!(completed_by_fish(&file("kms-gateway.fish"), line), word);
    }
    // zsh completes on a terminal only.
    run(Command::new("zsh").arg("-n").arg(file("_kms-gateway")), b"");
}
