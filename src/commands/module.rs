//! `module`: registers, lists, revokes and authorises security modules.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    CommandError,
    form::Form,
    named::Named,
    registration::Registration,
    standard_output::{write_line, write_lines},
    table::second,
};
use crate::{
    gateway::{clock, environment::Environment, key_management},
    kms::{
        KmsTables, ModuleRow,
        administration::{ModuleReplaced, NewModule, SupplyGroups},
    },
    store::PastIssue,
    sts::{Sgc, SmId},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Add(Add),
    /// List the modules: SMID, state, hardware id, supply groups.
    #[command(after_help = "\
--json prints an array of {smid, state, hardware, sgcs}; sgcs is an array
itself.

Example:
  kms-gateway module list")]
    List(Form),
    History(History),
    /// Refuse a module from now on.
    #[command(after_help = "\
Example:
  kms-gateway module revoke \\
      SMID.1:Example:90000001:20260102T030405Z:09D598DBA26CF3AC:318F")]
    Revoke(Module),
    /// Undo a revocation: answer the module again.
    #[command(after_help = "\
The module keeps its DAK, hardware id and supply groups. A request that was
answered before is not answered again. If others may know the DAK, register the
module anew instead, with another SMID.

Example:
  kms-gateway module restore SMID.1:Example:90000001")]
    Restore(Module),
    Authorise(Authorise),
}

/// Register a module from its maker's registration.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway module add --registration module.json --sgc 000439,123456")]
pub(super) struct Add {
    /// The file that `sm init --registration` wrote: SMID, hardware id and DAK.
    #[arg(long, value_name = "FILE")]
    registration: PathBuf,
    /// Supply groups that the module may have, separated by commas.
    #[arg(long, value_delimiter = ',')]
    sgc: Vec<Sgc>,
}

/// List the key load files that were issued to a module, the latest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints for each the time of its issue, the request's id, the time in the request
and its vending keys as SGC/KRN. --json prints an array of {issued_at,
request_id, request_time, keys}; keys is an array itself.

Example:
  kms-gateway module history SMID.1:Example:90000001")]
pub(super) struct History {
    /// The module's SMID, or a beginning that no other has.
    smid: String,
    /// The most files to list.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    form: Form,
}

/// The module that the command line names.
#[derive(Debug, Args)]
pub(super) struct Module {
    /// The module's SMID, or a beginning that no other has.
    smid: String,
}

/// Set the supply groups that a module may have.
#[derive(Debug, Args)]
#[command(after_help = "\
--sgc gives the module these supply groups and no others. --add and --remove
change the ones that it has. Prints the module, and its supply groups before and
after.

Examples:
  kms-gateway module authorise SMID.1:Example:90000001 --sgc 000439,123456
  kms-gateway module authorise SMID.1:Example:90000001 --add 123456 --remove 000439")]
pub(super) struct Authorise {
    /// The module's SMID, or a beginning that no other has.
    smid: String,
    /// These supply groups and no others, separated by commas.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["add", "remove"])]
    sgc: Vec<Sgc>,
    /// Supply groups to add, separated by commas.
    #[arg(long, value_name = "SGC", value_delimiter = ',')]
    add: Vec<Sgc>,
    /// Supply groups to remove, separated by commas.
    #[arg(long, value_name = "SGC", value_delimiter = ',')]
    remove: Vec<Sgc>,
}

impl Authorise {
    fn groups(&self) -> Result<SupplyGroups, CommandError> {
        if self.add.is_empty() && self.remove.is_empty() {
            return Ok(SupplyGroups::Exactly(self.sgc.iter().copied().collect()));
        }
        match self.add.iter().find(|sgc| self.remove.contains(sgc)) {
            Some(sgc) => Err(CommandError::usage(format_args!(
                "{sgc} is in both --add and --remove; name it once"
            ))),
            None => Ok(SupplyGroups::Changed {
                added: self.add.iter().copied().collect(),
                removed: self.remove.iter().copied().collect(),
            }),
        }
    }
}

pub(super) async fn run(path: &Path, action: Action) -> Result<(), CommandError> {
    let environment = key_management::load_embedded(path).await?;
    let ending = act(&environment, action).await;
    environment.store.close().await;
    ending
}

async fn act(environment: &Environment, action: Action) -> Result<(), CommandError> {
    let administration = environment.administration();
    let now = clock::now(&environment.store);
    match action {
        Action::Add(arguments) => {
            let registration = Registration::read(&arguments.registration)?;
            let new = NewModule {
                smid: registration.smid,
                hardware: registration.hardware,
                sgcs: arguments.sgc.into_iter().collect(),
                dak: &registration.dak,
            };
            write_line(line(&administration.add_module(new, now).await?))
        }
        Action::List(form) => {
            let modules = environment.store.modules().await?;
            form.write(&modules, object, line)
        }
        Action::History(arguments) => history(environment, &arguments).await,
        Action::Revoke(module) => {
            let smid = meant(environment, &module.smid).await?;
            write_line(line(&administration.revoke(&smid, now).await?))
        }
        Action::Restore(module) => {
            let smid = meant(environment, &module.smid).await?;
            write_line(line(&administration.restore(&smid, now).await?))
        }
        Action::Authorise(arguments) => {
            let groups = arguments.groups()?;
            let smid = meant(environment, &arguments.smid).await?;
            let ModuleReplaced { before, after } =
                administration.authorise(&smid, groups, now).await?;
            write_lines([
                line(&after),
                format!("before: {}", groups_of(&before)),
                format!("after:  {}", groups_of(&after)),
            ])
        }
    }
}

pub(super) const MODULES: Named = Named {
    one: "module",
    many: "modules",
    remedy: "module list lists the known ones",
};

/// Finds a module by its SMID, or by a beginning that no other has.
async fn named(environment: &Environment, name: &str) -> Result<SmId, CommandError> {
    let modules = environment.store.modules().await?;
    let module = MODULES.find(name, &modules, |module| module.smid.as_str())?;
    Ok(module.smid.clone())
}

/// Finds a module for a change, and prints which one a beginning means.
async fn meant(environment: &Environment, name: &str) -> Result<SmId, CommandError> {
    let smid = named(environment, name).await?;
    if smid.as_str() != name {
        write_line(format_args!("the module is {smid}"))?;
    }
    Ok(smid)
}

async fn history(environment: &Environment, arguments: &History) -> Result<(), CommandError> {
    let smid = named(environment, &arguments.smid).await?;
    let issues = environment.store.issued_to(&smid, arguments.limit).await?;
    arguments.form.write(&issues, past_issue, |issue| {
        format!(
            "{}  {}  {}  {}",
            second(issue.issued_at),
            issue.request_id,
            issue.request_time,
            issue.keys
        )
    })
}

fn past_issue(issue: &PastIssue) -> Value {
    json!({
        "issued_at": second(issue.issued_at),
        "request_id": issue.request_id.to_string(),
        "request_time": issue.request_time.to_string(),
        "keys": issue.keys.split(',').collect::<Vec<_>>(),
    })
}

fn object(module: &ModuleRow) -> Value {
    let sgcs: Vec<String> = module.sgcs.iter().map(ToString::to_string).collect();
    json!({
        "smid": module.smid.to_string(),
        "state": module.state.to_string(),
        "hardware": module.hardware.to_string(),
        "sgcs": sgcs,
    })
}

fn line(module: &ModuleRow) -> String {
    format!(
        "{}  {}  {}  {}",
        module.smid,
        module.state,
        module.hardware,
        by_comma(&module.sgcs)
    )
}

fn groups_of(module: &ModuleRow) -> String {
    match module.sgcs.is_empty() {
        true => "none".to_owned(),
        false => by_comma(&module.sgcs),
    }
}

fn by_comma(sgcs: &BTreeSet<Sgc>) -> String {
    let sgcs: Vec<String> = sgcs.iter().map(ToString::to_string).collect();
    sgcs.join(",")
}
