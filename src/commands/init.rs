//! `init`: a new installation whose key management system is external. It has
//! no key to make, and `serve` makes no database: one that is missing was lost.

use std::path::Path;

use clap::Args;

use super::{CommandError, Ending, environment::Environment, kmc::create_master_secret};
use crate::config::Config;

/// Make the database of an installation with an external KMS.
#[derive(Debug, Args)]
#[command(after_help = "\
With the embedded KMS use kmc init, which makes its key too.

Example:
  kms-gateway init --create-master-secret")]
pub(super) struct Arguments {
    /// Make the master secret's file too, if it isn't there.
    #[arg(long)]
    create_master_secret: bool,
}

pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    if config.kms.socket.is_none() {
        return Err(CommandError::other(format_args!(
            "{}: kms.socket names no external key management system; for the embedded one use \
             kmc init, or name the other",
            path.display()
        )));
    }
    let database = &config.store.path;
    if database.exists() {
        return Err(CommandError::other(format_args!(
            "{}: is there already; move it away if it is of no use",
            database.display()
        )));
    }
    if arguments.create_master_secret {
        create_master_secret(&config)?;
    }
    let environment = Environment::open(path, &config).await?;
    environment.store.close().await;
    println!("database: {}", database.display());
    Ok(Ending::Done)
}
