//! `queue`: the operator's hands on what waits. Opens the store, finds the
//! request that is meant, and has the order carried out and told.

mod counted;
mod drop;
mod item;
mod list;
mod retry;
mod show;
mod story;

use std::{path::Path, sync::Arc};

use clap::Subcommand;

use super::{
    CommandError, Ending,
    environment::{chain_key, existing_store, master_secret},
    named::Named,
};
use crate::{config::Config, kms::RequestId, store::Store};

/// What a request is called.
pub(super) const REQUESTS: Named = Named {
    one: "request",
    many: "requests",
    remedy: "give its id, the beginning of one, or Postfix's queue id; audit list --request tells of \
             mail that was none, unless it is only counted there",
};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    List(list::List),
    Show(show::Show),
    Retry(retry::Retry),
    Drop(drop::Drop),
}

pub(super) async fn run(path: &Path, action: Action) -> Result<Ending, CommandError> {
    let config = Config::load(path)?;
    let store = open(path, &config, &action).await?;
    let done = match &action {
        Action::List(arguments) => list::run(&config, store.as_ref(), arguments).await,
        Action::Show(arguments) => show::run(&config, store.as_ref(), arguments).await,
        Action::Retry(arguments) => retry::run(&config, store.as_ref(), arguments).await,
        Action::Drop(arguments) => drop::run(store.as_ref(), arguments).await,
    };
    store.close().await;
    done.map(|()| Ending::Done)
}

/// Who only looks needs no secret.
async fn open(path: &Path, config: &Config, action: &Action) -> Result<Arc<Store>, CommandError> {
    let key = match action {
        Action::List(_) | Action::Show(_) => None,
        Action::Retry(_) | Action::Drop(_) => {
            Some(chain_key(&master_secret(path, &config.secrets)?))
        }
    };
    existing_store(config, key).await
}

/// The one request that a name names.
async fn find(store: &Store, name: &str) -> Result<RequestId, CommandError> {
    let found = store.requests_named(name.trim()).await?;
    match found.as_slice() {
        [one] => Ok(*one),
        many => Err(REQUESTS.not_one(name, many.iter())),
    }
}
