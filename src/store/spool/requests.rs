//! Requests in the spool: leased, renewed, and given back.

use jiff::{SignedDuration, Timestamp};

use super::leases::{self, First, LeaseToken, Leased, Leasing};
use super::replies::Answered;
use super::troubles::{self, Of};
use super::usage::{self, Spooled};
use super::wait::Wait;
use crate::audit::Event;
use crate::mail::{Address, ServiceCode};
use crate::policy::Requester;
use crate::request_id::RequestId;
use crate::store::database::{
    Bind, Changes, Connection, DatabaseError, Failure, Idle, Kind, Looked, Row, Store, StoreError,
};

/// A request to be worked on.
#[derive(Clone, Debug)]
pub struct LeasedRequest {
    /// Shows that the worker has the lease.
    pub(crate) token: LeaseToken<Self>,
    /// Id of the request.
    pub(crate) id: RequestId,
    /// When it was accepted.
    pub(crate) accepted_at: Timestamp,
    /// Postfix's queue id.
    pub(crate) queue_id: String,
    /// Reverse path of the envelope.
    pub(crate) reverse_path: String,
    /// Leases so far, this one included.
    pub(crate) attempts: u32,
    /// Whether the sender knows that the result comes later.
    pub(crate) notified: bool,
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

impl Leased for LeasedRequest {
    const RENEW: &'static str = "UPDATE requests SET waits_since = $1, waits_until = $2
         WHERE sequence = $3 AND attempts = $4 AND NOT EXISTS (
             SELECT 1 FROM request_troubles WHERE request = sequence AND attempt = attempts)";

    const LEASE: &'static str = "UPDATE requests
         SET attempts = $1, waits_since = $2, waits_until = $3, node = $4 WHERE sequence = $5";
}

impl Store {
    /// Leases a request that is due. Requests of one sender are leased in the order of their
    /// acceptance, each after the final result of the one before.
    pub async fn lease(
        &self,
        leasing: Leasing<LeasedRequest>,
    ) -> Result<Looked<LeasedRequest>, StoreError> {
        self.change(move |changes| lease(&leasing, changes)).await
    }

    /// Leases a request once one is due: see [`Store::look_when_due`]. `terms` are asked for then.
    pub(crate) async fn lease_when_due(
        &self,
        since: Idle,
        terms: impl Fn() -> Leasing<LeasedRequest> + Send + 'static,
        until: impl Future<Output = ()>,
    ) -> Result<Option<Looked<LeasedRequest>>, StoreError> {
        let look = move |changes: &mut Changes<'_>| lease(&terms(), changes);
        self.look_when_due(Kind::Request, since, look, until).await
    }

    /// Renews a lease from now on, because its attempt still lives. False if the lease has passed
    /// to another or was given back.
    pub(crate) async fn renew(
        &self,
        token: &LeaseToken<LeasedRequest>,
        now: Timestamp,
        hold: SignedDuration,
    ) -> Result<bool, StoreError> {
        let token = *token;
        self.change(move |changes| leases::renew(token, now, hold, changes))
            .await
    }

    /// Gives a request back, to be leased again from `until` on. False if the lease has passed to
    /// another.
    pub(crate) async fn postpone(
        &self,
        token: &LeaseToken<LeasedRequest>,
        at: Timestamp,
        until: Timestamp,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let (token, reason) = (*token, reason.to_owned());
        self.change(move |changes| postpone(token, at, until, &reason, changes))
            .await
    }
}

/// When the next request falls due, or the lease of one ends.
pub(in crate::store) fn next_due(
    connection: &mut Connection,
) -> Result<Option<Timestamp>, DatabaseError> {
    connection.scalar("SELECT min(waits_until) FROM requests WHERE turn = 1", &[])
}

/// Reads the first due request in this order. Verified ones come before the others, so that
/// strangers delay none of them.
macro_rules! due {
    ($order:literal) => {
        concat!(
            "SELECT sequence, id, accepted_at, queue_id, reverse_path, attempts, notified, requester,
                 service, gateway, targets,
                 (SELECT message FROM request_messages WHERE request = sequence) AS message
             FROM requests WHERE sequence = coalesce(
                 (SELECT sequence FROM requests
                  WHERE turn = 1 AND requester = 'verified' AND waits_until <= $1
                  ORDER BY ",
            $order,
            " LIMIT 1),
                 (SELECT sequence FROM requests WHERE turn = 1 AND waits_until <= $1
                  ORDER BY ",
            $order,
            " LIMIT 1),
                 (SELECT sequence FROM requests WHERE turn = 1 AND waits_since > $2
                  ORDER BY waits_since, sequence LIMIT 1))"
        )
    };
}

/// Leases the next request for a task that ends one. Most often none is due, which one statement
/// tells. A clock that was set back shows at the task's next look.
pub(super) fn lease_next(
    leasing: &Leasing<LeasedRequest>,
    changes: &mut Changes<'_>,
) -> Result<Looked<LeasedRequest>, Failure> {
    match next_due(changes.connection)? {
        Some(due) if due <= leasing.now => lease(leasing, changes),
        next_due => Ok(nothing(next_due, changes)),
    }
}

fn nothing(next_due: Option<Timestamp>, changes: &mut Changes<'_>) -> Looked<LeasedRequest> {
    changes.due.requests = 0;
    Looked::Nothing(changes.idle(next_due))
}

fn lease(
    leasing: &Leasing<LeasedRequest>,
    changes: &mut Changes<'_>,
) -> Result<Looked<LeasedRequest>, Failure> {
    let statement = match leasing.first {
        First::Oldest => due!("waits_until, sequence"),
        First::Newest => due!("waits_until DESC, sequence DESC"),
    };
    let void_after = Wait::void_after(leasing.now);
    loop {
        let values: [&dyn Bind; 2] = [&leasing.now, &void_after];
        let Some(row) = changes.connection.optional(statement, &values)? else {
            let next_due = next_due(changes.connection)?;
            return Ok(nothing(next_due, changes));
        };
        let (sequence, leases) = (row.get("sequence")?, row.get("attempts")?);
        if let Some(token) = leases::take(sequence, leases, leasing, changes)? {
            changes.due.requests = changes.due.requests.saturating_sub(1);
            return Ok(Looked::Work(read(token, &row)?));
        }
    }
}

fn read(token: LeaseToken<LeasedRequest>, row: &Row) -> Result<LeasedRequest, DatabaseError> {
    Ok(LeasedRequest {
        token,
        id: row.text("id")?,
        accepted_at: row.get("accepted_at")?,
        queue_id: row.get("queue_id")?,
        reverse_path: row.get("reverse_path")?,
        attempts: token.lease,
        notified: row.get("notified")?,
        requester: row.text("requester")?,
        service: row.text("service")?,
        gateway: row.text("gateway")?,
        targets: targets(row)?,
        message: row.get("message")?,
    })
}

pub(super) fn targets(row: &Row) -> Result<Vec<Address>, DatabaseError> {
    let text: String = row.get("targets")?;
    let targets = text.lines().map(Address::parse);
    targets
        .collect::<Result<_, _>>()
        .map_err(|error| DatabaseError::content(format!("requests.targets: {error}")))
}

/// A request that is about to end.
pub(super) struct EndingRequest {
    sequence: i64,
    pub(super) of: Answered,
    sender: String,
    size: i64,
}

impl EndingRequest {
    /// Reads a row with the columns of these names, and those of [`Answered`].
    pub(super) fn read(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            sequence: row.get("sequence")?,
            of: Answered::read(row)?,
            sender: row.get("sender")?,
            size: row.get("size")?,
        })
    }
}

/// Deletes a request, which was read in this transaction. Passes the turn to the next one of its
/// sender.
pub(super) fn remove(
    request: &EndingRequest,
    changes: &mut Changes<'_>,
) -> Result<(), DatabaseError> {
    let connection = &mut *changes.connection;
    connection.execute(
        "DELETE FROM requests WHERE sequence = $1",
        &[&request.sequence],
    )?;
    let passed = connection.execute(
        "UPDATE requests SET turn = 1
         WHERE sequence = (SELECT min(sequence) FROM requests WHERE sender = $1)",
        &[&request.sender],
    )?;
    changes.due.requests += usize::from(passed > 0);
    usage::remove(
        Spooled::Request,
        request.size,
        request.of.requester,
        request.of.network.as_deref(),
        connection,
    )
}

/// A request whose lease is held.
pub(super) struct Held {
    pub(super) request: EndingRequest,
    pub(super) notified: bool,
    was_put_off: bool,
}

impl Held {
    /// Returns none if the lease has passed to another.
    pub(super) fn by(
        token: LeaseToken<LeasedRequest>,
        connection: &mut Connection,
    ) -> Result<Option<Self>, DatabaseError> {
        let row = connection.optional(
            "SELECT sequence, id AS request_id, queue_id, accepted_at, sender, size, notified,
                 requester, network, EXISTS (
                 SELECT 1 FROM request_troubles WHERE request = sequence) AS was_put_off
             FROM requests WHERE sequence = $1 AND attempts = $2",
            &[&token.row, &token.lease],
        )?;
        row.map(|row| {
            Ok(Self {
                request: EndingRequest::read(&row)?,
                notified: row.get("notified")?,
                was_put_off: row.get("was_put_off")?,
            })
        })
        .transpose()
    }
}

fn postpone(
    token: LeaseToken<LeasedRequest>,
    at: Timestamp,
    until: Timestamp,
    reason: &str,
    changes: &mut Changes<'_>,
) -> Result<bool, Failure> {
    let Some(held) = Held::by(token, changes.connection)? else {
        return Ok(false);
    };
    changes.connection.execute(
        "UPDATE requests SET waits_since = $1, waits_until = $2 WHERE sequence = $3",
        &[&at, &until, &token.row],
    )?;
    let (of, attempt) = (Of::Request(token.row), token.lease);
    troubles::note(of, attempt, at, reason, changes.connection)?;
    // An outage costs the audit log one entry for each request.
    if !held.was_put_off {
        let mut entry = held.request.of.entry(at, Event::Postponed);
        entry.reason = Some(reason.to_owned());
        changes.audit(entry)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::SignedDuration;

    use super::*;
    use crate::store::testing::{HOLD, TestStore, at, completion, id, request};
    use crate::store::{Completed, NewRequest};

    #[tokio::test]
    async fn requests_are_leased_in_the_order_they_fall_due() {
        let test = TestStore::new().await;
        for number in [1, 2, 3] {
            test.store.accept(request(number)).await.unwrap();
        }
        for number in [1, 2, 3] {
            assert_eq!(test.lease(at(9)).await.unwrap().id, id(number));
        }
        assert!(test.lease(at(9)).await.is_none());
    }

    #[tokio::test]
    async fn what_is_due_is_read_in_the_order_of_an_index() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        test.add_many_requests().await;
        for statement in [
            due!("waits_until, sequence"),
            due!("waits_until DESC, sequence DESC"),
        ] {
            test.require_no_sort(statement).await;
        }
    }

    #[tokio::test]
    async fn a_sender_is_served_one_request_at_a_time_in_order() {
        let test = TestStore::new().await;
        for number in [1, 2] {
            let request = NewRequest {
                sender: "one".to_owned(),
                ..request(number)
            };
            test.store.accept(request).await.unwrap();
        }
        test.store.accept(request(3)).await.unwrap();

        let first = test.lease(at(9)).await.unwrap();
        assert_eq!(first.id, id(1));
        assert_eq!(test.lease(at(9)).await.unwrap().id, id(3));
        assert!(test.lease(at(9)).await.is_none());
        test.store
            .postpone(&first.token, at(9), at(60), "later")
            .await
            .unwrap();
        assert!(
            test.lease(at(59)).await.is_none(),
            "the second waits for the first"
        );

        let first = test.lease(at(60)).await.unwrap();
        assert_eq!((first.id, first.attempts), (id(1), 2));
        test.store
            .complete(&first.token, completion(at(60), &[]))
            .await
            .unwrap();
        assert_eq!(test.lease(at(60)).await.unwrap().id, id(2));
    }

    #[tokio::test]
    async fn a_lease_that_has_passed_on_is_lost_for_good() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let late = test.lease(at(1)).await.unwrap();
        let expiry = at(1) + HOLD;
        assert_eq!(test.next_request().await, Some(expiry));
        assert!(
            test.lease(expiry - SignedDuration::from_micros(1))
                .await
                .is_none()
        );

        let holder = test.lease(expiry).await.unwrap();
        assert_eq!((holder.id, holder.attempts), (id(1), 2));
        let complete = |token| {
            test.store
                .complete(token, completion(expiry, &["a@b.example"]))
        };
        assert_eq!(complete(&late.token).await.unwrap(), Completed::LeaseLost);
        assert!(
            !test
                .store
                .postpone(&late.token, expiry, at(999), "late")
                .await
                .unwrap()
        );
        assert_eq!(complete(&holder.token).await.unwrap(), Completed::Committed);
        assert_eq!(complete(&holder.token).await.unwrap(), Completed::LeaseLost);
        assert_eq!(test.store.spool_usage().await.unwrap().replies, 1);
    }

    #[tokio::test]
    async fn only_the_first_of_many_postponements_is_audited() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        for attempt in 1..4 {
            let leased = test.lease(at(60 * attempt)).await.unwrap();
            let until = at(60 * (attempt + 1));
            let token = &leased.token;
            assert!(
                test.store
                    .postpone(token, at(60 * attempt), until, "KMS away")
                    .await
                    .unwrap()
            );
            assert_eq!(test.next_request().await, Some(until));
        }
        let id = Some(id(1).to_string());
        assert_eq!(
            test.events().await,
            [(Event::Accepted, id.clone()), (Event::Postponed, id)]
        );
    }

    #[tokio::test]
    async fn a_clock_set_back_makes_nobody_wait_for_it() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        test.lease(at(3600)).await.unwrap();
        let just_before = at(3600) - SignedDuration::from_secs(59);
        assert!(
            test.lease(just_before).await.is_none(),
            "two clocks read in the other order"
        );
        assert_eq!(test.lease(at(1)).await.unwrap().attempts, 2);
        assert!(test.lease(at(1)).await.is_none());
    }
}
