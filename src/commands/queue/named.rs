//! Finds the request that an operator names.

use super::super::{CommandError, named::Named};
use crate::{request_id::RequestId, store::Store};

pub(in super::super) const REQUESTS: Named = Named {
    one: "request",
    many: "requests",
    remedy: "give its id, the beginning of its id, or Postfix's queue id; audit list --request \
             shows mail that was no request, unless the log only counts it",
};

/// Finds a request by its id, the beginning of its id, or Postfix's queue id.
pub(super) async fn find(store: &Store, name: &str) -> Result<RequestId, CommandError> {
    let found = store.requests_named(name.trim()).await?;
    match found.as_slice() {
        [one] => Ok(*one),
        many => Err(REQUESTS.not_one(name, many.iter())),
    }
}
