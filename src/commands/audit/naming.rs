//! The module or request that a filter names by the beginning of its name.

use std::collections::BTreeSet;

use super::{
    super::{CommandError, module::MODULES, queue::REQUESTS},
    PAGE,
    selection::{Selection, smids},
};
use crate::{
    store::{Store, StoreError},
    sts::SmId,
};

/// The most SMIDs that are kept of a log. Strangers can name any number.
const SMIDS: usize = 10_000;

/// Puts whole names in the place of beginnings. A name that nothing has stays.
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
    match found.as_slice() {
        [] => {}
        [one] => name.clone_from(one),
        many => return Err(MODULES.not_one(name, many.iter())),
    }
    Ok(())
}

/// The SMIDs of the log that begin so.
async fn named_in_log(beginning: &str, store: &Store) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    let mut next = i64::MIN;
    loop {
        let page = store.audit_entries(next, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(found);
        };
        next = last.head.sequence.saturating_add(1);
        for entry in page.iter().filter_map(|stored| stored.entry().ok()) {
            let begin_so = smids(&entry).filter(|smid| smid.starts_with(beginning));
            found.extend(begin_so.take(SMIDS - found.len()).map(str::to_owned));
        }
    }
}

/// A queue id may name several messages, and all of them are shown.
async fn complete_request(name: &mut String, store: &Store) -> Result<(), CommandError> {
    let found = store.requests_named(name).await?;
    let beginning = name.to_ascii_lowercase();
    let begins_so = |id: &String| id.starts_with(&beginning);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    if !found.iter().all(begins_so) {
        return Ok(());
    }
    match found.as_slice() {
        [] => {}
        [one] => name.clone_from(one),
        many => return Err(REQUESTS.not_one(name, many.iter())),
    }
    Ok(())
}
