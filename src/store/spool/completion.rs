//! The final result of a request: effects, reply and audit entry, committed together.

use jiff::Timestamp;

use super::leases::{LeaseToken, Leasing};
use super::replies::{self, FinishedReply, ReplyKind};
use super::requests::{self, Held, LeasedRequest};
use crate::audit::{Entry, Event};
use crate::faults::{self, FaultPoint};
use crate::kms::Effects;
use crate::store::database::{Changes, Failure, Looked, Store, StoreError};
use crate::store::keys::issues;

/// The final result of a request.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    /// When it was reached.
    pub(crate) at: Timestamp,
    /// The reply, unless none is due.
    pub(crate) reply: Option<FinishedReply>,
    /// The changes that the service makes.
    pub(crate) effects: Effects,
    /// The audit entry. The store sets its event and the ids.
    pub(crate) audit: Entry,
}

/// Outcome of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completed {
    /// Effects, reply and audit entry are on the disk.
    Committed,
    /// The lease has passed to another worker, which completes the request.
    LeaseLost,
    /// The tables that the effects rest on have changed. Nothing was written and the lease is still
    /// held: the service must be asked again.
    BasisChanged,
}

impl Store {
    /// Commits the final result of a request, and takes the request out of the spool.
    pub(crate) async fn complete(
        &self,
        token: &LeaseToken<LeasedRequest>,
        completion: Completion,
    ) -> Result<Completed, StoreError> {
        let token = *token;
        self.change(move |changes| complete(token, &completion, changes))
            .await
    }

    /// The same, and leases the next request in the same transaction, if this one ends.
    pub(crate) async fn complete_and_lease(
        &self,
        token: &LeaseToken<LeasedRequest>,
        completion: Completion,
        terms: impl Fn() -> Leasing<LeasedRequest> + Send + 'static,
    ) -> Result<(Completed, Option<Looked<LeasedRequest>>), StoreError> {
        let token = *token;
        self.change(move |changes| {
            let completed = complete(token, &completion, changes)?;
            let next = match completed {
                Completed::Committed => Some(requests::lease_next(&terms(), changes)?),
                Completed::LeaseLost | Completed::BasisChanged => None,
            };
            Ok((completed, next))
        })
        .await
    }
}

fn complete(
    token: LeaseToken<LeasedRequest>,
    completion: &Completion,
    changes: &mut Changes<'_>,
) -> Result<Completed, Failure> {
    let at = completion.at;
    let Some(held) = Held::by(token, changes.connection)? else {
        return Ok(Completed::LeaseLost);
    };
    let of = &held.request.of;
    if !issues::record(&completion.effects, of.request, at, changes)? {
        return Ok(Completed::BasisChanged);
    }
    if let Some(reply) = &completion.reply {
        let kind = ReplyKind::of_result(completion.audit.result.as_deref());
        // An address that may never have asked gets the answer, but no notice before it.
        let notified = held.notified || of.requester.may_be_forged();
        replies::insert(reply, kind, notified, of, at, changes)?;
    }
    requests::remove(&held.request, changes)?;
    let entry = Entry {
        event: Event::Completed,
        queue_id: Some(of.queue_id.clone()),
        request_id: Some(of.request.to_string()),
        attempts: Some(token.lease),
        ..completion.audit.clone()
    };
    changes.audit(entry)?;
    faults::pass(FaultPoint::BeforeCompletionCommit);
    Ok(Completed::Committed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::SpoolUsage;
    use crate::store::testing::{HOLD, TestStore, at, completion, request};

    #[tokio::test]
    async fn a_request_without_a_reply_leaves_nothing_to_deliver() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        let silent = Completion {
            reply: None,
            ..completion(at(1), &[])
        };
        test.store.complete(&leased.token, silent).await.unwrap();
        assert_eq!(
            test.store.spool_usage().await.unwrap(),
            SpoolUsage::default()
        );
        assert_eq!(test.next_request().await, None);
    }

    #[tokio::test]
    async fn who_is_late_but_alone_still_completes() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        let late = at(1) + HOLD + HOLD;
        let completed = test
            .store
            .complete(&leased.token, completion(late, &[]))
            .await
            .unwrap();
        assert_eq!(completed, Completed::Committed);
    }
}
