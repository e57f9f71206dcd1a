//! Requests that wait for long, and the notices to their senders.

use jiff::Timestamp;

use super::replies::{self, Answered, FinishedReply, ReplyKind};
use super::requests::targets;
use crate::mail::{Address, ServiceCode};
use crate::policy::Requester;
use crate::request_id::RequestId;
use crate::store::database::{
    Changes, Connection, DatabaseError, Failure, Store, StoreError, Text,
};

/// A request in the spool whose sender is to get a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitingRequest {
    /// Id of the request.
    pub(crate) id: RequestId,
    /// Standing of the requester.
    pub(crate) requester: Requester,
    /// The service asked for.
    pub(crate) service: ServiceCode,
    /// The gateway address that the request named.
    pub(crate) gateway: Address,
    /// The addresses to answer.
    pub(crate) targets: Vec<Address>,
    /// The message as it came.
    pub(crate) message: Vec<u8>,
}

impl Store {
    /// The requests of the same sender as this one, itself among them, that were accepted by then
    /// and whose sender has no notice yet.
    pub(crate) async fn requests_to_notify(
        &self,
        like: RequestId,
        accepted_by: Timestamp,
    ) -> Result<Vec<WaitingRequest>, StoreError> {
        self.read(move |connection| to_notify(like, accepted_by, connection))
            .await
    }

    /// Sends the notice that a request waits. False if its sender has one already, or the request
    /// has its result.
    pub(crate) async fn notify(
        &self,
        request: RequestId,
        at: Timestamp,
        notice: FinishedReply,
    ) -> Result<bool, StoreError> {
        self.change(move |changes| notify(request, at, &notice, changes))
            .await
    }
}

fn to_notify(
    like: RequestId,
    accepted_by: Timestamp,
    connection: &mut Connection,
) -> Result<Vec<WaitingRequest>, DatabaseError> {
    let rows = connection.all(
        "SELECT id, requester, service, gateway, targets, message FROM requests
         JOIN request_messages ON request_messages.request = requests.sequence
         WHERE sender = (SELECT sender FROM requests WHERE id = $1)
             AND notified = 0 AND accepted_at <= $2
         ORDER BY sequence",
        &[&Text(like), &accepted_by],
    )?;
    rows.iter()
        .map(|row| {
            Ok(WaitingRequest {
                id: row.text("id")?,
                requester: row.text("requester")?,
                service: row.text("service")?,
                gateway: row.text("gateway")?,
                targets: targets(row)?,
                message: row.get("message")?,
            })
        })
        .collect()
}

fn notify(
    request: RequestId,
    at: Timestamp,
    notice: &FinishedReply,
    changes: &mut Changes<'_>,
) -> Result<bool, Failure> {
    let waiting = changes.connection.optional(
        "UPDATE requests SET notified = 1 WHERE id = $1 AND notified = 0
         RETURNING id AS request_id, queue_id, accepted_at, requester, network",
        &[&Text(request)],
    )?;
    let Some(waiting) = waiting else {
        return Ok(false);
    };
    let of = Answered::read(&waiting)?;
    if of.requester.may_be_forged() {
        // One notice serves for all that may be forged in the same name.
        changes.connection.execute(
            "UPDATE requests SET notified = 1 WHERE requester IN ('answered', 'newcomer')
             AND target = (SELECT target FROM requests WHERE id = $1)",
            &[&Text(request)],
        )?;
    }
    replies::insert(notice, ReplyKind::Notice, true, &of, at, changes)?;
    changes.audit(replies::notified(&of, None, at))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::policy::Trust;
    use crate::store::NewRequest;
    use crate::store::testing::{TestStore, asking, at, completion, id, request};

    #[tokio::test]
    async fn who_waits_for_long_is_told_once_of_each_request() {
        let test = TestStore::new().await;
        for number in [1, 2, 3] {
            let sender = if number == 3 { "another" } else { "one" };
            let request = NewRequest {
                sender: sender.to_owned(),
                ..request(number)
            };
            test.store.accept(request).await.unwrap();
        }
        let unnotified = async |by| {
            let waiting = test.store.requests_to_notify(id(1), at(by)).await.unwrap();
            waiting.into_iter().map(|own| own.id).collect::<Vec<_>>()
        };
        assert_eq!(unnotified(1).await, [id(1)]);
        assert_eq!(unnotified(9).await, [id(1), id(2)]);
        let notice = FinishedReply {
            message: b"Subject: late\r\n\r\n".to_vec(),
            reverse_path: String::new(),
            targets: vec!["a@b.example".to_owned()],
        };
        let notify = async || {
            test.store
                .notify(id(1), at(9), notice.clone())
                .await
                .unwrap()
        };
        assert!(notify().await);
        assert!(!notify().await);
        assert_eq!(unnotified(9).await, [id(2)]);
        assert_eq!(test.store.spool_usage().await.unwrap().replies, 1);
        let leased = test.lease_delivery(at(9)).await.unwrap();
        assert_eq!(
            (leased.target.as_str(), leased.can_be_notified),
            ("a@b.example", false)
        );
        test.store.delivered(&leased, at(9), "250").await.unwrap();

        // The reply in the end sends no further notice.
        let leased = test.lease(at(9)).await.unwrap();
        assert!(leased.notified);
        test.store
            .complete(&leased.token, completion(at(9), &["a@b.example"]))
            .await
            .unwrap();
        assert!(!test.lease_delivery(at(9)).await.unwrap().can_be_notified);
        assert!(!notify().await, "it has its result");
    }

    #[tokio::test]
    async fn of_requests_that_may_be_forged_the_address_is_told_once() {
        let test = TestStore::new().await;
        for number in 1..4 {
            let request = NewRequest {
                trust: Trust::Stranger,
                request: asking("victim@b.example"),
                ..request(number)
            };
            test.store.accept(request).await.unwrap();
        }
        let notify = async |number| {
            let notice = FinishedReply {
                message: b"Subject: late\r\n\r\n".to_vec(),
                reverse_path: String::new(),
                targets: vec!["victim@b.example".to_owned()],
            };
            test.store.notify(id(number), at(9), notice).await.unwrap()
        };
        assert_eq!(
            [notify(1).await, notify(2).await, notify(3).await],
            [true, false, false]
        );
        let leased = test.lease(at(9)).await.unwrap();
        test.store
            .complete(&leased.token, completion(at(9), &["victim@b.example"]))
            .await
            .unwrap();
        while let Some(delivery) = test.lease_delivery(at(9)).await {
            assert!(!delivery.can_be_notified);
            test.store.delivered(&delivery, at(9), "250").await.unwrap();
        }
    }
}
