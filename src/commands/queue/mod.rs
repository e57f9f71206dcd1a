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

use std::path::Path;

use clap::Subcommand;

pub(super) use self::named::REQUESTS;
use super::CommandError;
use crate::{
    config::Config,
    gateway::environment::{chain_key, existing_store, master_secret},
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
    // Only commands that change the store need the master secret.
    let key = match &action {
        Action::List(_) | Action::Show(_) => None,
        Action::Retry(_) | Action::Drop(_) => {
            Some(chain_key(&master_secret(path, &config.secrets)?))
        }
    };
    let store = existing_store(&config, key).await?;
    let done = match &action {
        Action::List(arguments) => list::run(&config, store.as_ref(), arguments).await,
        Action::Show(arguments) => show::run(&config, store.as_ref(), arguments).await,
        Action::Retry(arguments) => retry::run(&config, store.as_ref(), arguments).await,
        Action::Drop(arguments) => drop::run(store.as_ref(), arguments).await,
    };
    store.close().await;
    done
}
