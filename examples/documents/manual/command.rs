//! kms-gateway(1): every command with its options, as its help has them.

use clap::{Command, CommandFactory};
use clap_mangen::{Man, roff::bold};
use kms_gateway::commands::Arguments;

use super::{PROGRAM, page::Page};

pub(super) fn page() -> Page {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut page = Page::new(PROGRAM, "1", &about(&command));
    page.heading("SYNOPSIS");
    page.prose(&usage(&command));
    page.heading("OPTIONS");
    page.without_headings(&options(&command));
    page.heading("COMMANDS");
    describe_subcommands(&mut page, &command);
    page.heading("EXIT STATUS");
    page.item([vec![bold("0")]], "Done.");
    page.item([vec![bold("1")]], "It failed, or found a problem.");
    page.item([vec![bold("2")]], "The command line is wrong.");
    page.heading("FILES");
    for (name, text) in FILES {
        page.item([vec![bold(*name)]], text);
    }
    page.heading("SEE ALSO");
    page.prose("`gateway.toml`(5), `kms-gateway-policy`(7), `kms-gateway-postfix`(8)");
    page
}

const FILES: &[(&str, &str)] = &[
    ("/etc/kms-gateway/gateway.toml", "The configuration."),
    (
        "/etc/kms-gateway/master.secret",
        "The master secret. Keep a copy in a safe.",
    ),
    (
        "/var/lib/kms-gateway/gateway.sqlite3",
        "The database: requests, keys and the audit log. Copy it by `kms-gateway backup` only.",
    ),
];

fn describe_subcommands(page: &mut Page, command: &Command) {
    for command in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        page.subheading(command.get_bin_name().unwrap_or_default());
        page.prose(&format!("{}.", about(command)));
        if command.has_subcommands() {
            describe_subcommands(page, command);
        } else {
            describe(page, command);
        }
    }
}

/// A command without what all commands have in common.
fn describe(page: &mut Page, command: &Command) {
    let own = command.clone().mut_args(|argument| {
        let common = argument.is_global_set() || argument.get_id() == "help";
        argument.hide(common)
    });
    page.prose(&usage(&own));
    if own.get_arguments().any(|argument| !argument.is_hide_set()) {
        page.without_headings(&options(&own));
    }
    if let Some(text) = own.get_after_help() {
        page.prose(&text.to_string());
    }
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    about.unwrap_or_default().trim_end_matches('.').to_owned()
}

/// The command line, with the program and its command as they are typed.
pub(super) fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let typed = command.get_bin_name().unwrap_or_default();
    usage.replacen(typed, &format!("`{typed}`"), 1)
}

pub(super) fn options(command: &Command) -> Vec<u8> {
    let mut roff = Vec::new();
    // Memory takes all that is written.
    let _ = Man::new(command.clone()).render_options_section(&mut roff);
    roff
}
