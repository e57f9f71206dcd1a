//! Measures what waits in the spool, and counts senders over their allowance. Reads only.

use jiff::Timestamp;

use super::usage::{SpoolUsage, usage};
use crate::policy::throttle::Stage;
use crate::store::database::{Connection, DatabaseError, Store, StoreError};
use crate::store::throttle::buckets;

/// Figures of the spool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) usage: SpoolUsage,
    /// Requests that are put off to a later time.
    pub(crate) put_off: u64,
    /// Acceptance of the oldest request that waits for its result or reply.
    pub(crate) oldest: Option<Timestamp>,
    /// Senders with messages that wait for their turn.
    pub(crate) deferred_senders: u64,
    pub(crate) blocked_senders: u64,
}

impl Store {
    /// The figures of the spool.
    pub(crate) async fn backlog(&self, now: Timestamp) -> Result<Backlog, StoreError> {
        self.read(move |connection| backlog(now, connection)).await
    }
}

fn backlog(now: Timestamp, connection: &mut Connection) -> Result<Backlog, DatabaseError> {
    let mut backlog = Backlog {
        usage: usage(connection)?,
        put_off: put_off(now, connection)?,
        oldest: oldest(connection)?,
        ..Backlog::default()
    };
    for stage in buckets::stages(now, connection)? {
        match stage {
            Stage::Open => {}
            Stage::Deferring => backlog.deferred_senders += 1,
            Stage::Blocked { .. } => backlog.blocked_senders += 1,
        }
    }
    Ok(backlog)
}

/// Counts requests that wait, but not those that are leased. A request that was given back has a
/// trouble of its last attempt.
fn put_off(now: Timestamp, connection: &mut Connection) -> Result<u64, DatabaseError> {
    connection.scalar(
        "SELECT count(*) FROM requests
         WHERE waits_until > $1 AND (attempts = 0 OR EXISTS (
             SELECT 1 FROM request_troubles
             WHERE request = requests.sequence AND attempt = requests.attempts))",
        &[&now],
    )
}

/// Reads the first row of each table, which is the oldest there.
fn oldest(connection: &mut Connection) -> Result<Option<Timestamp>, DatabaseError> {
    connection.scalar(
        "SELECT min(accepted_at) FROM (
             SELECT * FROM (SELECT accepted_at FROM requests ORDER BY sequence LIMIT 1) AS request
             UNION ALL
             SELECT * FROM (SELECT accepted_at FROM replies ORDER BY sequence LIMIT 1) AS reply
         ) AS first",
        &[],
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::testing::{TestStore, at, completion, request};
    use crate::store::{NewRequest, SpoolUsage};

    #[tokio::test]
    async fn what_is_put_off_is_told_from_what_is_in_work() {
        let test = TestStore::new().await;
        let backlog = async |second| test.store.backlog(at(second)).await.unwrap();
        assert_eq!(backlog(0).await, Backlog::default());
        for number in [1, 2, 3] {
            let request = NewRequest {
                sender: number.to_string(),
                ..request(number)
            };
            test.store.accept(request).await.unwrap();
        }
        let first = test.lease(at(4)).await.unwrap();
        let put_off = async || {
            let seen = backlog(4).await;
            (seen.usage.requests, seen.put_off)
        };
        assert_eq!(put_off().await, (3, 0));
        let until = at(60);
        let postponed = test.store.postpone(&first.token, at(4), until, "trouble");
        assert!(postponed.await.unwrap());
        assert_eq!(put_off().await, (3, 1));
        assert_eq!(backlog(60).await.put_off, 0, "its time has come");
        assert_eq!(backlog(4).await.oldest, Some(first.accepted_at));
    }

    #[tokio::test]
    async fn a_reply_that_waits_is_as_old_as_its_request() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(9)).await.unwrap();
        let completed = completion(at(9), &["a@vendor.example"]);
        test.store.complete(&leased.token, completed).await.unwrap();
        let seen = test.store.backlog(at(9)).await.unwrap();
        let SpoolUsage {
            requests, replies, ..
        } = seen.usage;
        assert_eq!((requests, replies), (0, 1));
        assert_eq!(seen.oldest, Some(leased.accepted_at));
        let delivery = test.lease_delivery(at(9)).await.unwrap();
        let delivered = test.store.delivered(&delivery, at(9), "250");
        assert!(delivered.await.unwrap());
        assert_eq!(test.store.backlog(at(9)).await.unwrap(), Backlog::default());
    }
}
