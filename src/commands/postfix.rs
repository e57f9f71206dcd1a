//! `postfix`: adds the gateway to Postfix, removes it, and compares Postfix with the
//! gateway's needs.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use super::{
    CommandError, Ending,
    config::DEFAULT_CONFIG,
    standard_error,
    standard_output::{write_json, write_line, write_lines},
};
use crate::{
    config::Config,
    wiring::{self, Difference, Findings, Installation, Line, Removal, Report, Wiring},
};

/// The installer's name as a program of its own.
const ALONE: &str = "kms-gateway-postfix";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Install(Install),
    Uninstall(Uninstall),
    Check(Check),
}

/// The Postfix to work on.
#[derive(Debug, Args)]
struct Directory {
    /// Postfix's configuration directory [default: postconf's own].
    #[arg(long, value_name = "DIR")]
    config_directory: Option<PathBuf>,
}

/// Add the gateway to a Postfix 3.7 or later, or update it there.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "\
Run it again after a change of gateway.toml or of your own milters. It remembers
--wiring, --signer and --internal. It makes every change with postconf(1), and
prints that command. It keeps the original files in DIR/kms-gateway until
`kms-gateway postfix uninstall`. It does not reload Postfix: its last lines say
what to run next.

Example:
  kms-gateway postfix install --dry-run"
)]
pub(super) struct Install {
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    options: Options,
    /// Print the changes, and make none.
    #[arg(long)]
    dry_run: bool,
}

/// The options that an installation remembers.
#[derive(Debug, Args)]
struct Options {
    /// edge: the gateway is a milter of every smtpd without its own smtpd_milters.
    /// internal: the gateway sees only its own mail, which comes out of the queue
    /// [default: edge].
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "edge|internal"
    )]
    wiring: Option<Wiring>,
    /// A milter of yours that signs replies, as in smtpd_milters (inet:localhost:8891).
    /// Give it once for each milter; give none for no milter. The default is Postfix's
    /// milters for local mail (non_smtpd_milters), or else those of smtpd_milters.
    /// They see 127.0.0.1 as the client.
    #[arg(long, value_name = "MILTER")]
    signer: Vec<String>,
    /// Address of the internal listener, which gets the gateway's mail from the queue
    /// [default: 127.0.0.1:18026].
    #[arg(long, value_name = "HOST:PORT")]
    internal: Option<String>,
}

/// Remove the gateway from Postfix, and restore main.cf, master.cf and gateway.toml.
#[derive(Debug, Args)]
#[command(after_help = "\
Restores the files byte for byte. If a file was edited since, the edits stay,
and only the installer's own lines are removed.

Example:
  kms-gateway postfix uninstall --dry-run")]
pub(super) struct Uninstall {
    #[command(flatten)]
    directory: Directory,
    /// Print the changes, and make none.
    #[arg(long)]
    dry_run: bool,
}

/// Report where Postfix differs from the gateway's needs, with the remedy.
#[derive(Debug, Args)]
#[command(after_help = "\
Compares main.cf, master.cf and the tables that they name with the gateway's
needs. The exit code is 1 if anything differs. `kms-gateway check` does this
too.

Example:
  kms-gateway postfix check")]
pub(super) struct Check {
    #[command(flatten)]
    directory: Directory,
    /// Print {"directory","wiring","differences":[{"found","remedy"}],
    /// "notes"}.
    #[arg(long)]
    json: bool,
    /// Accepted, but a check never changes anything.
    #[arg(long, hide = true)]
    dry_run: bool,
}

/// Adds the KMS e-mail gateway to a Postfix 3.7 or later, and removes it.
///
/// Does the same as `kms-gateway postfix install` and `kms-gateway postfix uninstall`.
#[derive(Debug, Parser)]
#[command(name = ALONE, version, max_term_width = 100, args_override_self = true)]
pub struct Alone {
    /// The gateway's configuration.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    options: Options,
    /// Restore main.cf, master.cf and gateway.toml byte for byte. If a file was edited
    /// since, the edits stay, and only the installer's own lines are removed.
    #[arg(long)]
    uninstall: bool,
    /// Print the changes, and make none.
    #[arg(long)]
    dry_run: bool,
}

impl Alone {
    /// Whether the program was called by the installer's own name.
    pub(super) fn is_meant(program: &Path) -> bool {
        program.file_name().is_some_and(|name| name == ALONE)
    }

    /// The configuration and the action on the command line.
    pub(super) fn action(self) -> (PathBuf, Action) {
        let Self {
            config,
            directory,
            options,
            uninstall,
            dry_run,
        } = self;
        let action = match uninstall {
            true => Action::Uninstall(Uninstall { directory, dry_run }),
            false => Action::Install(Install {
                directory,
                options,
                dry_run,
            }),
        };
        (config, action)
    }
}

pub(super) fn run(path: &Path, action: Action) -> Result<Ending, CommandError> {
    match action {
        Action::Install(asked) => show(&wiring::install(&Installation {
            directory: asked.directory.config_directory,
            config: path.to_owned(),
            wiring: asked.options.wiring,
            signers: asked.options.signer,
            internal: asked.options.internal,
            dry_run: asked.dry_run,
        })?),
        Action::Uninstall(asked) => show(&wiring::uninstall(&Removal {
            directory: asked.directory.config_directory,
            config: path.to_owned(),
            dry_run: asked.dry_run,
        })?),
        Action::Check(asked) => {
            let config = Config::load(path)?;
            let directory = asked.directory.config_directory.as_deref();
            let findings = wiring::check(directory, &config)?;
            show_findings(&findings, asked.json)
        }
    }
}

fn show(report: &Report) -> Result<Ending, CommandError> {
    for line in report.lines() {
        match line {
            Line::Said(text) => write_line(text)?,
            Line::Warned(text) => standard_error::write_line(format_args!("warning: {text}")),
        }
    }
    Ok(Ending::Done)
}

/// The JSON of the findings.
#[derive(Serialize)]
struct Json<'a> {
    directory: &'a str,
    wiring: Option<Wiring>,
    differences: &'a [Difference],
    notes: &'a [String],
}

fn show_findings(findings: &Findings, json: bool) -> Result<Ending, CommandError> {
    if json {
        write_json(&Json {
            directory: &findings.directory,
            wiring: findings.wiring,
            differences: &findings.differences,
            notes: &findings.notes,
        })?;
    } else {
        write_lines(lines(findings))?;
    }
    let is_well = findings.wiring.is_some() && findings.differences.is_empty();
    Ok(Ending::of_search(is_well))
}

fn lines(findings: &Findings) -> Vec<String> {
    let directory = &findings.directory;
    let Some(wiring) = findings.wiring else {
        return vec![format!(
            "{directory}: the gateway is not in Postfix; kms-gateway postfix install adds it"
        )];
    };
    let wiring = wiring.as_str();
    let differences = findings.differences.iter();
    let mut lines: Vec<String> = differences
        .map(|difference| format!("warning: {difference}"))
        .collect();
    if lines.is_empty() {
        lines.push(format!(
            "{directory}: {wiring} wiring, all as the gateway needs it"
        ));
    }
    lines.extend(findings.notes.iter().map(|note| format!("note: {note}")));
    lines
}
