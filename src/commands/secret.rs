//! `secret`: another master secret, another storage key.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{
    CommandError, Ending,
    environment::{
        chain_key, master_secret, master_secret_file, new_master_secret, store_settings,
    },
    standard_error,
    standard_output::write_lines,
};
use crate::{
    config::{Config, Secrets},
    kms::{KmsTables, MasterSecret, StorageKey},
    store::{SecretChange, StoreAlone, StoreError},
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    Rewrap(Rewrap),
}

/// Change the master secret, and with --rekey the storage key under it.
#[derive(Debug, Args)]
#[command(after_help = "\
Stop serve first, and run this as its user or root: the command refuses while another
process uses the database. The configuration must still name the present master
secret. All is changed in one transaction, then the file is built anew (which
takes as much memory as it is large) so that nothing of the old is left in it.
Killed at any moment, the database opens either with the old master secret or
with the new one; give the same command again to finish.

The audit log goes on under a key of the new master secret. `audit verify` still
verifies all of it; the new secret is enough for that.

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
    /// Make that file too, if it isn't there.
    #[arg(long, requires = "new_file")]
    create: bool,
    /// Make a new storage key and seal every key in the database anew.
    #[arg(long)]
    rekey: bool,
}

pub(super) async fn run(path: &Path, action: Action) -> Result<Ending, CommandError> {
    match action {
        Action::Rewrap(arguments) => rewrap(path, &arguments).await,
    }
}

async fn rewrap(path: &Path, arguments: &Rewrap) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    let present = master_secret(path, &config.secrets)?;
    let new = match &arguments.new_file {
        Some(file) if file.exists() || !arguments.create => Some(MasterSecret::from_file(file)?),
        Some(file) => {
            // Nothing is made before it is known that the change can be.
            open(&config, &present).await?.close().await;
            Some(new_master_secret(&config, file)?)
        }
        None => None,
    };
    let next = new.as_ref().unwrap_or(&present);
    let (store, secret) = match open(&config, &present).await {
        // A change that was cut short before it could say so.
        Err(CommandError::Store(StoreError::OtherChainKey { .. })) => {
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
    let mut lines = done(arguments, is_changed);
    if let Some(file) = arguments.new_file.as_ref().filter(|_| !next.is(&present)) {
        lines.push(next_step(&config.secrets, file));
    }
    let written = write_lines(lines);
    standard_error::write_line(warning(arguments.rekey));
    written.map(|()| Ending::Done)
}

/// What is so now.
fn done(arguments: &Rewrap, was_changed: bool) -> Vec<String> {
    let of_secret = |file: &PathBuf| match was_changed {
        true => format!(
            "The master secret in {} was the database's already.",
            file.display()
        ),
        false => format!(
            "The database opens with the master secret in {} alone.",
            file.display()
        ),
    };
    let of_keys = "Every key in the database is sealed under a new storage key.";
    let of_keys = arguments.rekey.then(|| of_keys.to_owned());
    let of_secret = arguments.new_file.as_ref().map(of_secret);
    of_secret.into_iter().chain(of_keys).collect()
}

/// The store, if `secret` is the master secret of its audit log.
async fn open(config: &Config, secret: &MasterSecret) -> Result<StoreAlone, CommandError> {
    Ok(StoreAlone::open(&store_settings(config), chain_key(secret)).await?)
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

/// The storage key, if there is one, opened by `secret`; without one the audit
/// log tells whether it is the right master secret.
async fn check(
    store: &StoreAlone,
    secret: &MasterSecret,
) -> Result<Option<StorageKey>, CommandError> {
    match store.store().wrapped_storage_key().await? {
        Some(wrapped) => Ok(Some(StorageKey::unwrap(&wrapped, secret)?)),
        None => match store.store().verify_audit(None).await? {
            Ok(_) => Ok(None),
            Err(broken) => Err(CommandError::other(format!(
                "{broken}; nothing was changed: give the master secret that the log was written \
                 with"
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
        at: Timestamp::now(),
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

/// How the gateway gets the new master secret, from where it is told to look.
fn next_step(secrets: &Secrets, file: &Path) -> String {
    let file = file.display();
    match secrets {
        Secrets {
            master_secret_credential: Some(name),
            ..
        } => format!(
            "Before the next start: have LoadCredential={name}: in the service's unit name {file}."
        ),
        Secrets {
            master_secret_environment: Some(variable),
            ..
        } => format!("Before the next start: set ${variable} to what is in {file}."),
        _ => format!(
            "Before the next start: mv {file} {}",
            master_secret_file(secrets).display()
        ),
    }
}

fn warning(rekey: bool) -> &'static str {
    if rekey {
        "Warning: backups and other copies made before stay readable by the old master secret, \
         keys and all. Destroy them, or keep the old secret as safe as ever; then make a backup."
    } else {
        "Warning: backups and other copies made before stay readable by the old master secret; \
         make a backup now. The storage key is the same as in them: whoever has one of them and \
         the old secret can open this database too. If the old secret may be known to others, \
         give --rekey."
    }
}
