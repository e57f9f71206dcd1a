//! An operator's order to try again now.

use sqlx::Row;
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
        self.change(move |changes| Box::pin(retry(what, order, changes)))
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

async fn retry(
    what: ToRetry,
    order: Order,
    changes: &mut Changes<'_>,
) -> Result<WaitsEnded, Failure> {
    let now = Moment(order.at);
    let bound = |statement| {
        sqlx::query(statement)
            .bind(now)
            .bind(what.request.map(Text))
    };
    let requests = bound(REQUESTS).bind(what.throttled);
    let requests = requests.execute(&mut *changes.connection).await?;
    let replies = bound(DELIVERIES);
    let replies = replies.execute(&mut *changes.connection).await?;
    let left = bound(LEFT).fetch_one(&mut *changes.connection).await?;
    let ports = sqlx::query(PORTS).bind(now);
    let ports = ports.execute(&mut *changes.connection).await?;
    let ended = WaitsEnded {
        requests: requests.rows_affected(),
        replies: replies.rows_affected(),
        throttled: left.try_get(0)?,
        port: ports.rows_affected() > 0,
    };
    changes.due = Due::ANYTHING;
    // An order that changed nothing is not audited.
    if ended.requests + ended.replies > 0 || ended.port {
        let throttled = what.throttled;
        let entry = Entry {
            request_id: what.request.map(|id| id.to_string()),
            count: Some(ended.requests + ended.replies),
            detail: throttled.then(|| "waits for an allowance too".to_owned()),
            ..order.entry(Event::Retried)
        };
        changes.audit(entry).await?;
    }
    Ok(ended)
}
