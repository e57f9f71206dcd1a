//! An operator's order to try again now.

use sqlx::sqlite::SqliteConnection;
use sqlx::types::Text;

use super::super::arrivals::Due;
use super::super::columns::Moment;
use super::super::error::Failure;
use super::super::intent::{Changes, Intent};
use super::values::{Order, ToRetry, WaitsEnded};
use crate::audit::{Entry, Event};
use crate::kms::RequestId;

/// Ends waits. What a worker has at the moment is left to it.
pub(in super::super) struct RetryNow {
    pub(in super::super) what: ToRetry,
    pub(in super::super) order: Order,
}

/// The waits that an order ends: those that end later, but for leases.
const REQUESTS: &str = "UPDATE requests SET waits_since = ?1, waits_until = ?1
     WHERE (?2 IS NULL OR id = ?2) AND waits_until > ?1 AND (attempts = 0 OR EXISTS (
         SELECT 1 FROM request_troubles WHERE request = sequence AND attempt = attempts))";

const DELIVERIES: &str = "UPDATE deliveries SET waits_since = ?1, waits_until = ?1
     WHERE (?2 IS NULL OR reply IN (SELECT sequence FROM replies WHERE request_id = ?2))
         AND waits_until > ?1 AND (attempts = 0 OR EXISTS (
             SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts))";

impl Intent for RetryNow {
    type Answer = WaitsEnded;

    async fn apply(self, changes: &mut Changes<'_>) -> Result<WaitsEnded, Failure> {
        let ended = WaitsEnded {
            requests: self.end(REQUESTS, changes.connection).await?,
            replies: self.end(DELIVERIES, changes.connection).await?,
        };
        changes.due = Due::ANYTHING;
        // What changed nothing is nothing to audit.
        if ended != WaitsEnded::default() {
            let entry = Entry {
                request_id: self.request_id().map(|id| id.to_string()),
                count: Some(ended.requests + ended.replies),
                operator: Some(self.order.operator),
                ..Entry::new(self.order.at, Event::Retried)
            };
            changes.audit(entry).await?;
        }
        Ok(ended)
    }
}

impl RetryNow {
    fn request_id(&self) -> Option<RequestId> {
        match self.what {
            ToRetry::All => None,
            ToRetry::Request(id) => Some(id),
        }
    }

    async fn end(
        &self,
        statement: &'static str,
        connection: &mut SqliteConnection,
    ) -> Result<u64, sqlx::Error> {
        let ended = sqlx::query(statement)
            .bind(Moment(self.order.at))
            .bind(self.request_id().map(Text))
            .execute(connection)
            .await?;
        Ok(ended.rows_affected())
    }
}
