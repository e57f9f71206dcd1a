//! Completes the beginning of a module's or request's name in a filter.

use std::collections::BTreeSet;

use super::{
    super::{CommandError, module::MODULES, named::Named, queue::REQUESTS},
    pages::Pages,
    selection::{Selection, smids},
};
use crate::{
    store::{Store, StoreError},
    sts::SmId,
};

/// Limit of the SMIDs that are collected from a log: strangers can name any number.
const SMIDS: usize = 10_000;

/// Replaces beginnings by whole names. A name that fits nothing stays.
pub(super) async fn complete(selection: &mut Selection, store: &Store) -> Result<(), CommandError> {
    if let Some(name) = &mut selection.smid {
        complete_smid(name, store).await?;
    }
    if let Some(name) = &mut selection.request {
        complete_request(name, store).await?;
    }
    Ok(())
}

async fn complete_smid(name: &mut String, store: &Store) -> Result<(), CommandError> {
    if name.parse::<SmId>().is_ok() {
        return Ok(());
    }
    let found: Vec<String> = named_in_log(name, store).await?.into_iter().collect();
    take_only(name, &found, &MODULES)
}

/// Replaces `name` by the only name that was found.
fn take_only(name: &mut String, found: &[String], kind: &Named) -> Result<(), CommandError> {
    match found {
        [] => {}
        [one] => name.clone_from(one),
        many => return Err(kind.not_one(name, many.iter())),
    }
    Ok(())
}

/// The SMIDs of the log that begin with `beginning`.
async fn named_in_log(beginning: &str, store: &Store) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    let mut pages = Pages::of(store);
    while let Some(page) = pages.next().await? {
        for entry in page.iter().filter_map(|stored| stored.entry().ok()) {
            let begin_so = smids(&entry).filter(|smid| smid.starts_with(beginning));
            found.extend(begin_so.take(SMIDS - found.len()).map(str::to_owned));
        }
    }
    Ok(found)
}

/// Completes a request's id. A queue id stays: it may name several messages, and all
/// of them are shown.
async fn complete_request(name: &mut String, store: &Store) -> Result<(), CommandError> {
    let found = store.requests_named(name).await?;
    let beginning = name.to_ascii_lowercase();
    let begins_so = |id: &String| id.starts_with(&beginning);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    if !found.iter().all(begins_so) {
        return Ok(());
    }
    take_only(name, &found, &REQUESTS)
}
