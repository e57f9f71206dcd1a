//! `backup`: copies the database. The gateway may run meanwhile.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{
    CommandError,
    standard_output::{write_json, write_line},
};
use crate::config::Config;
use crate::gateway::environment::existing_store;

/// Copy the database to a new file, while the gateway runs.
#[derive(Debug, Args)]
#[command(after_help = "\
The copy holds requests, replies, the audit log and the sealed keys. It does not
hold the master secret, which opens the keys: keep that apart. The command
checks the copy. The copy of a PostgreSQL database is an SQLite file too.
docs/mail-admin.md says how to restore it.

--json prints {file, bytes, head}; head names the newest audit entry in the
copy, as audit verify --head takes it.

Example:
  kms-gateway backup /var/backups/kms-gateway/2026-11-24.sqlite3")]
pub(super) struct Arguments {
    /// The file to make; it must not exist.
    file: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<(), CommandError> {
    let config = Config::load(path)?;
    let store = existing_store(&config, None).await?;
    let made = store.backup(&arguments.file).await;
    store.close().await;
    let backup = made?;
    let file = arguments.file.display();
    let (bytes, head) = (backup.bytes, backup.head);
    match arguments.json {
        true => write_json(&json!({
            "file": file.to_string(),
            "bytes": bytes,
            "head": head.to_string(),
        })),
        false => write_line(format_args!(
            "{file}: {bytes} bytes, checked and on the disk\naudit head {head}"
        )),
    }
}
