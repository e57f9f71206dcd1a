//! `module`: security modules registered at the key management centre.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{CommandError, Ending, environment::Environment, registration::Registration};
use crate::{
    kms::{KmsTables, ModuleRow, administration::NewModule},
    sts::{Sgc, SmId},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Add(Add),
    /// List the modules: SMID, state, hardware id, supply groups.
    #[command(after_help = "Example:\n  kms-gateway module list")]
    List,
    Revoke(Revoke),
    Authorise(Authorise),
}

/// Register a module from the registration that its maker handed over.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway module add --registration module.json --sgc 000439,123456")]
pub(super) struct Add {
    /// The file that `sm init --registration` wrote: SMID, hardware id and DAK.
    #[arg(long, value_name = "FILE")]
    registration: PathBuf,
    /// Supply groups that the module may have, by comma.
    #[arg(long, value_delimiter = ',')]
    sgc: Vec<Sgc>,
}

/// Refuse a module from now on.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway module revoke \\
      SMID.1:Example:90000001:20260102T030405Z:09D598DBA26CF3AC:318F")]
pub(super) struct Revoke {
    /// The module.
    smid: SmId,
}

/// Set which supply groups a module may have; those not named it loses.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kms-gateway module authorise SMID.1:… --sgc 000439,123456")]
pub(super) struct Authorise {
    /// The module.
    smid: SmId,
    /// Supply groups, by comma.
    #[arg(long, value_delimiter = ',')]
    sgc: Vec<Sgc>,
}

pub(super) async fn run(path: &Path, action: Action) -> Result<Ending, CommandError> {
    let (_, environment) = Environment::load(path).await?;
    let ending = act(&environment, action).await;
    environment.store.close().await;
    ending
}

async fn act(environment: &Environment, action: Action) -> Result<Ending, CommandError> {
    let administration = environment.administration();
    let now = Timestamp::now();
    match action {
        Action::Add(arguments) => {
            let registration = Registration::read(&arguments.registration)?;
            let new = NewModule {
                smid: registration.smid,
                hardware: registration.hardware,
                sgcs: arguments.sgc.into_iter().collect(),
                dak: &registration.dak,
            };
            print(&administration.add_module(new, now).await?);
        }
        Action::List => {
            for module in environment.store.modules().await? {
                print(&module);
            }
        }
        Action::Revoke(arguments) => print(&administration.revoke(&arguments.smid, now).await?),
        Action::Authorise(arguments) => {
            let sgcs = arguments.sgc.into_iter().collect();
            print(&administration.authorise(&arguments.smid, sgcs, now).await?);
        }
    }
    Ok(Ending::Done)
}

fn print(module: &ModuleRow) {
    let sgcs: Vec<String> = module.sgcs.iter().map(ToString::to_string).collect();
    println!(
        "{}  {}  {}  {}",
        module.smid,
        module.state,
        module.hardware,
        sgcs.join(",")
    );
}
