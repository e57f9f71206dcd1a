//! An operator's order to try again now.

use sqlx::Row;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::types::Text;

use super::values::{ToRetry, WaitsEnded};
use crate::audit::{Entry, Event};
use crate::store::audit::order::Order;
use crate::store::database::{Changes, Due, Failure, Moment, Store, StoreError};
use crate::store::spool::wait::waits_for_allowance;

impl Store {
    /// Ends waits at an operator's order. Leaves alone the rows that a worker has. Ends waits for
    /// an allowance only if that is ordered, since their senders get more than they are allowed.
    pub(crate) async fn retry(
        &self,
        what: ToRetry,
        order: Order,
    ) -> Result<WaitsEnded, StoreError> {
        self.change(move |changes| Box::pin(Retry { what, order }.apply(changes)))
            .await
    }
}

/// Ends waits, but not leases.
const REQUESTS: &str = concat!(
    "UPDATE requests SET waits_since = ?1, waits_until = ?1
     WHERE (?2 IS NULL OR id = ?2) AND waits_until > ?1 AND (?3 AND ",
    waits_for_allowance!(),
    " OR EXISTS (
         SELECT 1 FROM request_troubles WHERE request = sequence AND attempt = attempts))"
);

const DELIVERIES: &str = "UPDATE deliveries SET waits_since = ?1, waits_until = ?1
     WHERE (?2 IS NULL OR reply IN (SELECT sequence FROM replies WHERE request_id = ?2))
         AND waits_until > ?1 AND (attempts = 0 OR EXISTS (
             SELECT 1 FROM delivery_troubles WHERE delivery = sequence AND attempt = attempts))";

const LEFT: &str = concat!(
    "SELECT count(*) FROM requests WHERE (?2 IS NULL OR id = ?2) AND ",
    waits_for_allowance!()
);

/// A port in trouble is tried at once.
const PORTS: &str = "UPDATE port_troubles SET waits_until = ?1 WHERE waits_until > ?1";

struct Retry {
    what: ToRetry,
    order: Order,
}

impl Retry {
    async fn apply(self, changes: &mut Changes<'_>) -> Result<WaitsEnded, Failure> {
        let requests = self.bound(REQUESTS).bind(self.what.throttled);
        let requests = requests.execute(&mut *changes.connection).await?;
        let replies = self.bound(DELIVERIES);
        let replies = replies.execute(&mut *changes.connection).await?;
        let throttled: i64 = self
            .bound(LEFT)
            .fetch_one(&mut *changes.connection)
            .await?
            .try_get(0)?;
        let ended = WaitsEnded {
            requests: requests.rows_affected(),
            replies: replies.rows_affected(),
            throttled: throttled.unsigned_abs(),
            port: self.try_ports(changes.connection).await?,
        };
        changes.due = Due::ANYTHING;
        // An order that changed nothing is not audited.
        if ended.requests + ended.replies > 0 || ended.port {
            let entry = Entry {
                request_id: self.what.request.map(|id| id.to_string()),
                count: Some(ended.requests + ended.replies),
                detail: self
                    .what
                    .throttled
                    .then(|| "waits for an allowance too".to_owned()),
                ..self.order.entry(Event::Retried)
            };
            changes.audit(entry).await?;
        }
        Ok(ended)
    }

    async fn try_ports(&self, connection: &mut SqliteConnection) -> sqlx::Result<bool> {
        let ended = sqlx::query(PORTS)
            .bind(Moment(self.order.at))
            .execute(connection)
            .await?;
        Ok(ended.rows_affected() > 0)
    }

    fn bound(&self, statement: &'static str) -> Query<'static, Sqlite, SqliteArguments> {
        sqlx::query(statement)
            .bind(Moment(self.order.at))
            .bind(self.what.request.map(Text))
    }
}
