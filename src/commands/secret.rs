//! `secret`: changes the master secret and the storage key.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{CommandError, standard_error, standard_output::write_lines};
use crate::{
    config::{Config, Secrets},
    gateway::{
        GatewayError, clock,
        environment::{chain_key, master_secret, master_secret_file, new_master_secret},
    },
    kms::{KmsTables, StorageKeyError},
    secrets::{MasterSecret, StorageKey},
    store::{SecretChange, StoreAlone, StoreError},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Rewrap(Rewrap),
}

/// Change the master secret, and with --rekey also the storage key.
#[derive(Debug, Args)]
#[command(after_help = "\
Stop serve first, and run this as its user or root. The command refuses while
another process uses the database. The configuration must still name the present
master secret.

One transaction changes everything. Then the database file is rebuilt, so that
nothing of the old keys is left in it. That takes as much memory as the file is
large. If the command is killed, the database opens either with the old master
secret or with the new one; run the same command again to finish.

The audit log goes on under a key of the new master secret. `audit verify` still
verifies all of it, and needs only the new secret.

Example:
  systemctl stop kms-gateway
  kms-gateway secret rewrap --new-file /var/lib/kms-gateway/new.secret \\
      --create --rekey
  mv /var/lib/kms-gateway/new.secret /etc/kms-gateway/master.secret
  kms-gateway audit verify
  systemctl start kms-gateway")]
pub(super) struct Rewrap {
    /// The file with the new master secret.
    #[arg(long, value_name = "FILE", required_unless_present = "rekey")]
    new_file: Option<PathBuf>,
    /// Make that file if it does not exist.
    #[arg(long, requires = "new_file")]
    create: bool,
    /// Make a new storage key, and seal every key in the database under it.
    #[arg(long)]
    rekey: bool,
}

pub(super) async fn run(path: &Path, action: Action) -> Result<(), CommandError> {
    let Action::Rewrap(arguments) = action;
    let config = Config::load(path)?;
    let present = master_secret(path, &config.secrets)?;
    let new = match &arguments.new_file {
        Some(file) if file.exists() || !arguments.create => Some(MasterSecret::from_file(file)?),
        Some(file) => {
            // Makes no file before the database has opened.
            open(&config, &present).await?.close().await;
            Some(new_master_secret(&config, file)?)
        }
        None => None,
    };
    let next = new.as_ref().unwrap_or(&present);
    let (store, secret) = match open(&config, &present).await {
        // An earlier change was killed after its transaction.
        Err(CommandError::Gateway(GatewayError::Store(StoreError::OtherChainKey { .. }))) => {
            (open(&config, next).await?, next)
        }
        opened => (opened?, &present),
    };
    let is_changed = secret.is(next);
    if is_changed && !arguments.rekey {
        check(&store, secret).await?;
        store.scrub().await?;
    } else {
        change(store, secret, next, arguments.rekey).await?;
    }
    let mut lines = done(&arguments, is_changed);
    if let Some(file) = arguments.new_file.as_ref().filter(|_| !next.is(&present)) {
        lines.push(next_step(&config.secrets, file));
    }
    let written = write_lines(lines);
    standard_error::write_line(warning(arguments.rekey));
    written
}

/// The lines about the change.
fn done(arguments: &Rewrap, was_changed: bool) -> Vec<String> {
    let of_secret = |file: &PathBuf| {
        let file = file.display();
        match was_changed {
            true => format!("The master secret in {file} was the database's already."),
            false => format!("The database opens with the master secret in {file} alone."),
        }
    };
    let of_keys = "Every key in the database is sealed under a new storage key.";
    let of_keys = arguments.rekey.then(|| of_keys.to_owned());
    let of_secret = arguments.new_file.as_ref().map(of_secret);
    of_secret.into_iter().chain(of_keys).collect()
}

/// Opens the store. Fails if `secret` is not the master secret of its audit log.
async fn open(config: &Config, secret: &MasterSecret) -> Result<StoreAlone, CommandError> {
    Ok(StoreAlone::open(&config.store, chain_key(secret)).await?)
}

async fn change(
    store: StoreAlone,
    present: &MasterSecret,
    next: &MasterSecret,
    rekey: bool,
) -> Result<(), CommandError> {
    let change = match prepare(&store, present, next, rekey).await {
        Ok(change) => change,
        Err(error) => {
            store.close().await;
            return Err(error);
        }
    };
    Ok(store.change(change).await?)
}

/// Verifies that `secret` is the store's master secret. Returns the storage key that
/// it opens. A store without a storage key is judged by its audit log.
async fn check(
    store: &StoreAlone,
    secret: &MasterSecret,
) -> Result<Option<StorageKey>, CommandError> {
    match store.store().wrapped_storage_key().await? {
        Some(wrapped) => {
            let opened = StorageKey::unwrap(&wrapped, secret);
            Ok(Some(opened.map_err(StorageKeyError::from)?))
        }
        None => match store.store().verify_audit(None).await? {
            Ok(_) => Ok(None),
            Err(broken) => Err(CommandError::other(format!(
                "{broken}; nothing was changed; give the master secret under which the log was \
                 written"
            ))),
        },
    }
}

async fn prepare(
    store: &StoreAlone,
    present: &MasterSecret,
    next: &MasterSecret,
    rekey: bool,
) -> Result<SecretChange, CommandError> {
    let read = store.sealed_rows().await?;
    let mut change = SecretChange {
        at: clock::now(store.store()),
        revision: read.revision,
        storage_key: None,
        rows: None,
        chain_key: (!next.is(present)).then(|| chain_key(next)),
    };
    if let Some(storage_key) = check(store, present).await? {
        let new_key = if rekey {
            let fresh = StorageKey::random()?;
            let resealed = read.reseal(&storage_key, &fresh);
            change.rows = Some(resealed.map_err(CommandError::other)?);
            fresh
        } else {
            storage_key
        };
        change.storage_key = Some(new_key.wrap(next)?);
    }
    Ok(change)
}

/// Says how to put the new master secret where the configuration expects it.
fn next_step(secrets: &Secrets, file: &Path) -> String {
    let file = file.display();
    let step = if let Some(name) = &secrets.master_secret_credential {
        format!("write LoadCredential={name}:{file} in the service's unit.")
    } else if let Some(variable) = &secrets.master_secret_environment {
        format!("set ${variable} to the content of {file}.")
    } else {
        format!("mv {file} {}", master_secret_file(secrets).display())
    };
    format!("Before the next start: {step}")
}

fn warning(rekey: bool) -> &'static str {
    if rekey {
        "Warning: the old master secret still opens earlier backups and copies with all their \
         keys. Destroy them, or keep the old secret safe. Then make a new backup."
    } else {
        "Warning: the old master secret still opens earlier backups and copies. Make a new backup \
         now. This database has the same storage key as they: a copy and the old secret together \
         open it too. If others may know the old secret, give --rekey."
    }
}
