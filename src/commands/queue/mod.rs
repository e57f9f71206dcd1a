//! `queue`: lists, shows, retries and drops waiting requests and replies. Opens the
//! store and runs the subcommand.

mod counted;
mod drop;
mod item;
mod list;
mod named;
mod retry;
mod show;
mod story;

use std::{path::Path, sync::Arc};

use clap::Subcommand;

pub(super) use self::named::REQUESTS;
use super::CommandError;
use crate::{
    config::Config,
    gateway::environment::{chain_key, existing_store, master_secret},
    store::Store,
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    List(list::List),
    Show(show::Show),
    Retry(retry::Retry),
    Drop(drop::Drop),
}

pub(super) async fn run(path: &Path, action: Action) -> Result<(), CommandError> {
    let config = Config::load(path)?;
    let store = open(path, &config, &action).await?;
    let done = match &action {
        Action::List(arguments) => list::run(&config, store.as_ref(), arguments).await,
        Action::Show(arguments) => show::run(&config, store.as_ref(), arguments).await,
        Action::Retry(arguments) => retry::run(&config, store.as_ref(), arguments).await,
        Action::Drop(arguments) => drop::run(store.as_ref(), arguments).await,
    };
    store.close().await;
    done
}

/// Opens the store. Only commands that change it need the master secret.
async fn open(path: &Path, config: &Config, action: &Action) -> Result<Arc<Store>, CommandError> {
    let key = match action {
        Action::List(_) | Action::Show(_) => None,
        Action::Retry(_) | Action::Drop(_) => {
            Some(chain_key(&master_secret(path, &config.secrets)?))
        }
    };
    Ok(existing_store(config, key).await?)
}
