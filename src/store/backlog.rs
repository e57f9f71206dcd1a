//! What waits in the spool and which senders do, as it is measured from time to
//! time. Reads only.

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::columns::Moment;
use super::values::Backlog;
use super::{acceptance, buckets};
use crate::policy::throttle::Stage;

/// All of it, of one moment.
pub(super) async fn backlog(
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<Backlog, sqlx::Error> {
    let mut backlog = Backlog {
        usage: acceptance::usage(connection).await?,
        put_off: put_off(now, connection).await?,
        oldest: oldest(connection).await?,
        ..Backlog::default()
    };
    for stage in buckets::stages(now, connection).await? {
        match stage {
            Stage::Open => {}
            Stage::Deferring => backlog.deferred_senders += 1,
            Stage::Blocked { .. } => backlog.blocked_senders += 1,
        }
    }
    Ok(backlog)
}

/// What is leased waits too; but what was given back has a trouble of its last
/// attempt.
async fn put_off(now: Timestamp, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM requests
         WHERE waits_until > ? AND (attempts = 0 OR EXISTS (
             SELECT 1 FROM request_troubles
             WHERE request = requests.sequence AND attempt = requests.attempts))",
    )
    .bind(Moment(now))
    .fetch_one(connection)
    .await
}

/// The first of each table: what came first is oldest, and a table's other rows
/// need not be read.
async fn oldest(connection: &mut SqliteConnection) -> Result<Option<Timestamp>, sqlx::Error> {
    let oldest: Option<Moment> = sqlx::query_scalar(
        "SELECT min(accepted_at) FROM (
             SELECT * FROM (SELECT accepted_at FROM requests ORDER BY sequence LIMIT 1)
             UNION ALL
             SELECT * FROM (SELECT accepted_at FROM replies ORDER BY sequence LIMIT 1))",
    )
    .fetch_one(connection)
    .await?;
    Ok(oldest.map(|Moment(time)| time))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::{TestStore, at, completion, request};
    use super::super::{NewRequest, SpoolUsage, Store};
    use super::*;

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
