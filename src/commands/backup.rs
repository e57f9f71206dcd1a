//! `backup`: copies the database while the gateway runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CommandError, Ending, environment::existing_store, standard_output::write_line};
use crate::config::Config;

/// Copy the database to a new file, while the gateway runs.
#[derive(Debug, Args)]
#[command(after_help = "\
The copy holds requests, replies, the audit log and the sealed keys. The master
secret, which opens them, is not in it: keep that apart. It is checked before
this command is done. How to restore one is in the README, under Backup.

Example:
  kms-gateway backup /var/backups/kms-gateway/2026-11-24.sqlite3")]
pub(super) struct Arguments {
    /// The file to make; it must not be there.
    file: PathBuf,
}

pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    let store = existing_store(&config, None).await?;
    let made = store.backup(&arguments.file).await;
    store.close().await;
    let backup = made?;
    write_line(format_args!(
        "{}: {} bytes, checked and on the disk\naudit head {}",
        arguments.file.display(),
        backup.bytes,
        backup.head
    ))?;
    Ok(Ending::Done)
}
